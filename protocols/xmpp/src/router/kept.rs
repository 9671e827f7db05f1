//! Bytes that wait and may hold credentials.

use zeroize::Zeroizing;

/// Grows by copies of its own and gives up each with zeros in it.
#[derive(Default)]
pub(super) struct Kept(Zeroizing<Vec<u8>>);

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// All of it, which is then gone from here, with its memory.
    pub(super) fn take(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_there_until_it_is_taken() {
        let mut kept = Kept::default();
        for byte in 0..100_u8 {
            kept.add(&[byte; 3]);
        }
        assert_eq!(kept.len(), 300);
        let taken = kept.take();
        assert_eq!((taken.len(), taken.first(), taken.last()), (300, Some(&0), Some(&99)));
        assert!(kept.is_empty());
    }
}
