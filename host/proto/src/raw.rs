use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType},
};

/// A message as it is on the wire, to be decoded by whoever knows its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawMessage(pub Bytes);

impl RawMessage {
    /// The wire form of `message`.
    pub fn of(message: &impl Message) -> Self {
        RawMessage(message.encode_to_vec().into())
    }

    /// Reads it as a `T`.
    pub fn parse<T: Message + Default>(&self) -> Result<T, DecodeError> {
        T::decode(self.0.clone())
    }
}

impl Message for RawMessage {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    // `merge` below takes the whole buffer, so no field is ever seen on its own.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, ctx)
    }

    fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError> {
        self.0 = buf.copy_to_bytes(buf.remaining());
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{filesync::BytesMessage, fsutil::Packet};

    #[test]
    fn keeps_the_bytes_of_any_message() {
        let bytes = BytesMessage { data: Bytes::from_static(b"tar") };
        let packet = Packet { r#type: 2, stat: None, id: 7, data: Bytes::from_static(b"file") };
        let raw = RawMessage::decode(bytes.encode_to_vec().as_slice()).unwrap();
        assert_eq!(raw.parse::<BytesMessage>().unwrap(), bytes);
        let raw = RawMessage::decode(RawMessage::of(&packet).encode_to_vec().as_slice()).unwrap();
        assert_eq!(raw.parse::<Packet>().unwrap(), packet);
    }

    #[test]
    fn a_wrong_type_is_an_error() {
        let raw = RawMessage(Bytes::from_static(b"\x0a\xff"));
        assert!(raw.parse::<BytesMessage>().is_err());
    }
}
