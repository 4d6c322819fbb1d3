//! A part of an image that is kept of what comes, for whoever plays the system that the image holds.
//! All else of an image is hashed and forgotten.

use std::ops::Range;

/// The part, as far as it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    range: Range<u64>,
    at: u64,
    bytes: Vec<u8>,
}

impl Kept {
    /// Of an image that begins to come; an empty range keeps nothing.
    pub(crate) fn new(range: Range<u64>) -> Self {
        Self {
            range,
            at: 0,
            bytes: Vec::new(),
        }
    }

    /// The next piece of the image.
    pub(crate) fn take(&mut self, piece: &[u8]) {
        let end = self.at + piece.len() as u64;
        let from = self.range.start.max(self.at);
        let to = self.range.end.min(end);
        if from < to {
            // Both lie in the piece, whose length is one of memory.
            let (from, to) = ((from - self.at) as usize, (to - self.at) as usize);
            self.bytes.extend_from_slice(&piece[from..to]);
        }
        self.at = end;
    }

    /// What came of it.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_kept_however_the_image_comes() {
        let image: Vec<u8> = (0..100).collect();
        for size in [1, 7, 30, 100] {
            let mut kept = Kept::new(20..45);
            image.chunks(size).for_each(|piece| kept.take(piece));
            assert_eq!(kept.into_bytes(), &image[20..45], "in pieces of {size}");
        }
        let mut none = Kept::default();
        none.take(&image);
        assert!(none.into_bytes().is_empty());
    }
}
