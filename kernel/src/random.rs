//! Random bytes for programs: ChaCha20, seeded with what the boot loader left in the device tree.

use crate::sched::current;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use spin::mutex::SpinMutex;

/// Only tasks take this lock, and none is preempted while it holds it. With IRQs masked, they would be for the thousands of
/// instructions that some blocks take.
static GENERATOR: SpinMutex<Option<ChaCha20Rng>> = SpinMutex::new(None);

/// Seeds the generator with `/chosen/rng-seed`, mixed with the time. Without a seed the bytes can be guessed.
pub fn init(seed: Option<&[u8]>, time: u64) {
    let mut state = [0; 32];
    let bytes = time.to_le_bytes().into_iter().chain(seed.unwrap_or_default().iter().copied());
    for (index, byte) in bytes.enumerate() {
        state[index % 32] ^= byte;
    }
    if seed.is_none() {
        log::debug!("random: the device tree has no rng-seed: random bytes can be guessed");
    }
    *GENERATOR.lock() = Some(ChaCha20Rng::from_seed(state));
}

/// Fills `buffer`.
pub fn fill(buffer: &mut [u8]) {
    let preempt = &current().preempt;
    preempt.disable();
    GENERATOR.lock().as_mut().expect("random::init was called while booting").fill_bytes(buffer);
    preempt.enable();
}
