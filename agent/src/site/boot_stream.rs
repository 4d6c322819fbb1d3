//! What an image says of itself that is a boot stream (BFB): read once it is in the store, so that no
//! card of another generation is given it, by whichever way, and none one that is not whole.

use std::io;

use axum::body::Bytes;
use futures::{Stream, StreamExt as _};
use lockstep_crds::report::BootStreamReport;
use lockstep_rshim::{BootStream, StreamError, StreamReader};
use lockstep_store::{Digest, Store};

/// Longest message, in characters, of a report.
const MESSAGE: usize = 240;

/// What it says; `None` if the image is none.
///
/// # Errors
/// If it cannot be read now, for people.
pub(super) async fn read(
    store: &Store,
    digest: &Digest,
) -> Result<Option<BootStreamReport>, String> {
    let image = store
        .read(digest)
        .await
        .map_err(|error| error.to_string())?;
    let read = whole(image.bytes)
        .await
        .map_err(|error| error.to_string())?;
    Ok(read.map(|read| report(read, store.first_slot(digest))))
}

/// The stream; `None` if the bytes are none.
async fn whole(
    mut bytes: impl Stream<Item = io::Result<Bytes>> + Unpin,
) -> io::Result<Option<Result<BootStream, StreamError>>> {
    let mut reader = StreamReader::default();
    while let Some(piece) = bytes.next().await {
        match reader.feed(&piece?) {
            Ok(()) => {}
            Err(StreamError::NotAStream) => return Ok(None),
            Err(error) => return Ok(Some(Err(error))),
        }
    }
    Ok(match reader.finish() {
        Err(StreamError::NotAStream) => None,
        read => Some(read),
    })
}

/// `slot`: where a card's own bytes are laid over it.
fn report(read: Result<BootStream, StreamError>, slot: Option<u64>) -> BootStreamReport {
    let short = |text: String| text.chars().take(MESSAGE).collect::<String>();
    let stream = match read {
        Ok(stream) => stream,
        Err(error) => {
            return BootStreamReport {
                families: Vec::new(),
                fault: Some(short(error.to_string())),
            };
        }
    };
    let generations = stream.generations().into_iter();
    let families: Vec<String> = generations
        .map(|generation| format!("BlueField-{generation}"))
        .collect();
    let within = slot.filter(|slot| *slot < stream.images_end);
    let fault = if families.is_empty() {
        Some("it has no boot loader for any card".to_owned())
    } else {
        within.map(|slot| {
            format!("the slot at byte {slot} lies within its images, which would not have their CRC with a card's own bytes; put slots behind the last image")
        })
    };
    BootStreamReport {
        families,
        fault: fault.map(short),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_rshim::Image;

    use super::*;

    fn image(id: u8, version: u8) -> Image {
        Image {
            id,
            version,
            length: 8,
        }
    }

    fn stream(images: &[Image]) -> BootStream {
        BootStream {
            images: images.to_vec(),
            images_end: 100,
            size: 200,
        }
    }

    #[test]
    fn a_stream_tells_whom_it_boots_and_why_nobody() {
        let both = stream(&[image(1, 1), image(1, 2), image(62, 0)]);
        let told = report(Ok(both.clone()), Some(100));
        assert_eq!(told.families, ["BlueField-2", "BlueField-3"]);
        assert_eq!(told.fault, None);
        let within = report(Ok(both), Some(99)).fault.unwrap();
        assert!(within.contains("the slot at byte 99"), "{within}");
        let nobody = report(Ok(stream(&[image(62, 2)])), None).fault.unwrap();
        assert!(nobody.contains("no boot loader"), "{nobody}");
        let cut = report(Err(StreamError::Cut { at: 7, id: 62 }), None);
        assert!(cut.families.is_empty() && cut.fault.unwrap().contains("ends at byte 7"));
    }

    #[tokio::test]
    async fn what_is_no_stream_is_none_and_what_breaks_off_is_not_taken_for_none() {
        let pieces = |pieces: Vec<io::Result<&'static [u8]>>| {
            let pieces = pieces.into_iter();
            futures::stream::iter(pieces.map(|piece| piece.map(Bytes::from_static)))
        };
        let other = vec![Ok(&b"PK"[..]), Ok(b"\x03\x04 and so on")];
        assert_eq!(whole(pieces(other)).await.unwrap(), None);
        let broken = vec![Ok(&b"Bf\x02\x13"[..]), Err(io::Error::other("gone"))];
        assert!(whole(pieces(broken)).await.is_err());
        let cut = whole(pieces(vec![Ok(&b"Bf\x02\x13"[..])])).await.unwrap();
        assert!(cut.unwrap().is_err());
    }
}
