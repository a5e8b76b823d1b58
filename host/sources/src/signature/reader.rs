//! Numbers and texts of both formats, all big-endian.

use anyhow::Context as _;

/// What is left to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("it ends too soon")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> anyhow::Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub(super) fn u32(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    /// A number of OpenPGP, by its bits: its bytes without leading zeros.
    pub(super) fn mpi(&mut self) -> anyhow::Result<&'a [u8]> {
        let bits = usize::from(self.u16()?);
        self.take(bits.div_ceil(8)).map(stripped)
    }

    /// A text of SSH.
    pub(super) fn string(&mut self) -> anyhow::Result<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }
}

/// A number without leading zeros.
pub(super) fn stripped(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}
