//! For tests alone (the feature `made-up`): SErrors in the window, by a branch into the vector with the state that one would
//! make; a stack that is overrun; and the slots that no exception comes through.

use core::arch::{asm, global_asm};
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use hyp::service::{INVALID, MadeUp};
use trap::frame::UREGS_SIZE;

global_asm!(
    include_str!("made_up.S"),
    made_up_serror = sym made_up_serror,
    ESR_SERROR = const 0xbe00_0000_u32,
    UREGS_SIZE = const UREGS_SIZE,
);

/// Windows so far; the one in which SErrors come; how many are left; where.
static WINDOWS: AtomicU64 = AtomicU64::new(0);
static WINDOW: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);
static PLACE: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static abort_guest_exit_start: u8;
    static abort_guest_exit_end: u8;
    static hyp_traps_vector: u8;
}

/// Carries out [`hyp::service::MAKE_UP`].
pub fn plan([window, count, place]: [u64; 3]) -> i64 {
    if place > MadeUp::Guest as u64 {
        return INVALID;
    }
    let windows = WINDOWS.load(Relaxed);
    WINDOW.store(windows + window, Relaxed);
    LEFT.store(count, Relaxed);
    PLACE.store(place, Relaxed);
    windows as i64
}

/// Carries out [`hyp::service::OVERRUN`].
pub fn overrun() -> ! {
    #[expect(unconditional_recursion, reason = "it is to come to the stack's end")]
    fn deeper(depth: u64) -> u64 {
        let mut room = [depth; 32];
        deeper(black_box(&mut room)[0] + 1) + black_box(room)[31]
    }
    panic!("a stack without an end: {}", deeper(0))
}

/// Carries out [`hyp::service::ENTER_SLOT`].
pub fn enter_slot(slot: u64) -> ! {
    // SAFETY: all is masked, as an exception has it, and the slots stay within the table.
    unsafe {
        asm!(
            "msr daifset, #0xf",
            "add {table}, {table}, {slot}, lsl #7",
            "br {table}",
            table = in(reg) &raw const hyp_traps_vector,
            slot = in(reg) slot % 16,
            options(noreturn)
        )
    }
}

/// The window is open: the PC that an SError finds; 0 when none comes, 1 when it is one of the guest's.
extern "C" fn made_up_serror() -> u64 {
    // It comes back to a window that an SError has interrupted before its instruction.
    static AGAIN: AtomicU64 = AtomicU64::new(0);
    if AGAIN.swap(0, Relaxed) == 0 {
        WINDOWS.fetch_add(1, Relaxed);
    }
    if WINDOWS.load(Relaxed) != WINDOW.load(Relaxed) || LEFT.load(Relaxed) == 0 {
        return 0;
    }
    LEFT.fetch_sub(1, Relaxed);
    match PLACE.load(Relaxed) {
        place if place == MadeUp::Before as u64 => {
            AGAIN.store(1, Relaxed);
            &raw const abort_guest_exit_start as u64
        }
        place if place == MadeUp::Behind as u64 => &raw const abort_guest_exit_end as u64,
        place if place == MadeUp::Guest as u64 => 1,
        _ => made_up_serror as *const () as u64,
    }
}
