//! The order of arms inside a block: drawn anew for each block, from the run's seed.
//!
//! The random order is what makes the sign test exact at a margin of zero, whatever the noise.

use crate::rng::Rng;

/// Draws the order of `arms` lifecycles for block after block.
#[derive(Debug, Clone)]
pub struct BlockOrder {
    rng: Rng,
    arms: usize,
}

impl BlockOrder {
    /// An endless sequence of orders of `0..arms`, given by `seed`.
    pub fn new(seed: u64, arms: usize) -> Self {
        Self { rng: Rng::for_purpose(seed, "block-order"), arms }
    }

    /// The next block's order: a permutation of `0..arms`.
    pub fn next_block(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.arms).collect();
        self.rng.shuffle(&mut order);
        order
    }

    /// Skips `blocks` orders: how a continued run avoids repeating those of the former run.
    pub fn skip(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.next_block();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_permutations_and_reproducible() {
        let (mut a, mut b) = (BlockOrder::new(7, 5), BlockOrder::new(7, 5));
        for _ in 0..50 {
            let block = a.next_block();
            assert_eq!(block, b.next_block());
            let mut sorted = block;
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn skipping_is_the_same_as_drawing() {
        let (mut a, mut b) = (BlockOrder::new(9, 3), BlockOrder::new(9, 3));
        a.skip(4);
        for _ in 0..4 {
            b.next_block();
        }
        assert_eq!(a.next_block(), b.next_block());
    }

    #[test]
    fn each_arm_comes_first_equally_often() {
        let mut order = BlockOrder::new(3, 2);
        let first = (0..2_000).filter(|_| order.next_block()[0] == 0).count();
        assert!((920..1_080).contains(&first), "{first}");
    }
}
