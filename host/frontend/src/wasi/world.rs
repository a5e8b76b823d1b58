use std::collections::{BTreeMap, VecDeque};

/// Seconds since 1970 that the wall clock shows: 1 January 1980, which is the first day that archives of all kinds can hold.
pub(super) const WALL_CLOCK: u64 = 315_532_800;
/// Nanoseconds by which reading the monotonic clock moves it on, so that a loop that waits for a time ends.
pub(super) const TICK: u64 = 1_000;
/// What the monotonic clock shows at first, in nanoseconds. Go's runtime takes 0 for a broken clock.
const BEGIN: u64 = 1_000_000_000;
/// Bytes of standard error, from its end, that an error of the guest shows.
const TAIL_BYTES: usize = 4 << 10;
/// Bytes of a line that are waited for; a longer line is logged in parts.
const LINE_BYTES: usize = 16 << 10;

/// Which of a process' streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    Stdout = 1,
    Stderr = 2,
}

impl Stream {
    pub(super) fn of(number: u32) -> Stream {
        if number == Stream::Stderr as u32 { Stream::Stderr } else { Stream::Stdout }
    }
}

/// The world of one instance: clock, random numbers, and what it wrote.
pub(crate) struct World {
    now: u64,
    random: u64,
    /// When each time comes that the guest waits for.
    times: BTreeMap<u32, u64>,
    next_time: u32,
    /// Lines that are not at their end, of standard output and error.
    begun: [Vec<u8>; 2],
    tail: VecDeque<u8>,
}

impl World {
    pub(crate) fn new() -> World {
        let (begun, tail) = Default::default();
        World { now: BEGIN, random: 0, times: BTreeMap::new(), next_time: 0, begun, tail }
    }

    /// The monotonic clock.
    pub(super) fn now(&mut self) -> u64 {
        self.now = self.now.saturating_add(TICK);
        self.now
    }

    /// A number for a time.
    pub(super) fn subscribe(&mut self, when: u64) -> u32 {
        self.next_time = self.next_time.wrapping_add(1);
        self.times.insert(self.next_time, when);
        self.next_time
    }

    pub(super) fn forget(&mut self, number: u32) {
        self.times.remove(&number);
    }

    pub(super) fn is_ready(&self, number: u32) -> bool {
        self.times.get(&number).is_none_or(|when| *when <= self.now)
    }

    /// Moves the clock on to the first of these times, and answers which have come, by their place in the list.
    pub(super) fn wait(&mut self, numbers: &[u32]) -> Vec<u32> {
        let first = numbers.iter().map(|number| self.times.get(number).copied().unwrap_or(0)).min();
        self.now = self.now.max(first.unwrap_or(0));
        (0u32..).zip(numbers).filter(|(_, number)| self.is_ready(**number)).map(|(at, _)| at).collect()
    }

    /// SplitMix64, from a fixed seed: the numbers are the same in every version of this program.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn random_bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.random().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Takes what was written, and answers the lines that are whole.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> Vec<String> {
        if stream == Stream::Stderr {
            self.tail.extend(bytes);
            let over = self.tail.len().saturating_sub(TAIL_BYTES);
            self.tail.drain(..over);
        }
        let begun = &mut self.begun[stream as usize - 1];
        begun.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            lines.push(text(&line[..end]));
        }
        if begun.len() > LINE_BYTES {
            lines.push(text(&std::mem::take(begun)));
        }
        lines
    }

    /// The line that was begun, if one was.
    pub(crate) fn rest(&mut self, stream: Stream) -> Option<String> {
        let begun = std::mem::take(&mut self.begun[stream as usize - 1]);
        (!begun.is_empty()).then(|| text(&begun))
    }

    /// The end of what was written to standard error; none when that is nothing.
    pub(crate) fn last_words(&self) -> Option<String> {
        let (front, back) = self.tail.as_slices();
        let words = text(&[front, back].concat()).trim().to_owned();
        (!words.is_empty()).then_some(words)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_moves_the_clock_to_the_first_time_that_comes() {
        let mut world = World::new();
        let begin = world.now();
        let (late, soon) = (world.subscribe(begin + 5_000_000), world.subscribe(begin + 2_000_000));
        assert!(!world.is_ready(soon));
        assert_eq!(world.wait(&[late, soon]), [1]);
        assert_eq!(world.now(), begin + 2_000_000 + TICK);
        assert_eq!(world.wait(&[late, soon]), [1], "what has come is there, and nothing is waited for");
        world.forget(soon);
        assert_eq!(world.wait(&[late]), [0]);
    }

    #[test]
    fn random_numbers_are_the_same_in_every_world() {
        let (mut one, mut other) = (World::new(), World::new());
        assert_eq!(one.random(), 0xe220_a839_7b1d_cdaf, "the first number of SplitMix64 from 0");
        other.random();
        assert_eq!(one.random_bytes(11), other.random_bytes(11));
        assert!(one.random_bytes(0).is_empty());
    }

    #[test]
    fn what_is_written_comes_in_lines_and_the_end_is_kept() {
        let mut world = World::new();
        assert_eq!(world.last_words(), None);
        assert_eq!(world.write(Stream::Stderr, b"one\r\ntw"), ["one"]);
        assert_eq!(world.write(Stream::Stdout, b"other\n"), ["other"]);
        assert_eq!(world.write(Stream::Stderr, b"o\n\n"), ["two", ""]);
        assert_eq!(world.write(Stream::Stderr, b"three"), Vec::<String>::new());
        assert_eq!(world.rest(Stream::Stderr).as_deref(), Some("three"));
        assert_eq!(world.rest(Stream::Stderr), None);
        assert_eq!(world.last_words().unwrap(), "one\r\ntwo\n\nthree");
        let long = vec![b'x'; LINE_BYTES + 1];
        assert_eq!(world.write(Stream::Stderr, &long).len(), 1);
        assert_eq!(world.last_words().unwrap().len(), TAIL_BYTES);
    }
}
