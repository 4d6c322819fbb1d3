//! The addresses that ports were made with, which sysfs does not show once another is in use.

use super::message::{MessageError, Request, attributes};
use super::socket::{DUMP, NetlinkError, Socket};
use crate::Fact;

/// A port and the address that it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermanentAddress {
    /// The port's name.
    pub name: String,
    /// The address, as `b8:3f:d2:00:11:22`.
    pub address: String,
}

/// The ports of this network namespace whose drivers tell; before Linux 5.6 none.
pub fn permanent_addresses() -> Fact<Vec<PermanentAddress>> {
    const GET_LINK: u16 = 18;
    const EXTENSIONS: u16 = 29;
    const SKIP_STATISTICS: u32 = 1 << 3;
    let ask = || {
        // Any family, and nothing of what else the header could ask.
        let request = Request::new(GET_LINK, DUMP, &[0; 16])
            .attribute(EXTENSIONS, &SKIP_STATISTICS.to_ne_bytes());
        let answers = Socket::open(None)?.ask(request)?;
        let parsed: Result<Vec<_>, MessageError> =
            answers.iter().map(|answer| parse(answer)).collect();
        Ok(parsed?.into_iter().flatten().collect())
    };
    match ask() {
        Ok(addresses) => Fact::Known(addresses),
        Err::<_, NetlinkError>(error) => Fact::NotRead(format!("rtnetlink: {error}")),
    }
}

/// Parses the payload of one `RTM_NEWLINK`; `None` when it tells no permanent address.
///
/// # Errors
/// When it is cut off.
pub fn parse(payload: &[u8]) -> Result<Option<PermanentAddress>, MessageError> {
    const HEADER: usize = 16;
    const NAME: u16 = 3;
    const PERMANENT: u16 = 54;
    let (mut name, mut address) = (None, None);
    for attribute in attributes(payload.get(HEADER..).ok_or(MessageError)?) {
        let attribute = attribute?;
        match attribute.kind {
            NAME => name = Some(attribute.text()),
            PERMANENT if attribute.payload.iter().any(|byte| *byte != 0) => {
                let bytes: Vec<String> = attribute
                    .payload
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                address = Some(bytes.join(":"));
            }
            _ => {}
        }
    }
    Ok(name
        .zip(address)
        .map(|(name, address)| PermanentAddress { name, address }))
}
