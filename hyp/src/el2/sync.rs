//! Masking IRQs, and the one lock of the hypervisor, which masks them while it is held.

use core::arch::asm;
use core::ops::{Deref, DerefMut};
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// PSTATE.I as DAIF holds it.
const DAIF_I: u64 = 1 << 7;

/// IRQs are masked while this lives; dropped, they are as they were before.
#[must_use]
pub struct IrqMask {
    daif: u64,
}

impl IrqMask {
    /// Masks IRQs on this CPU.
    #[inline(always)]
    pub fn new() -> Self {
        let daif;
        // SAFETY: masking is always allowed. Not `nomem`: accesses must not move out of the masked stretch.
        unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) daif, options(nostack, preserves_flags)) };
        IrqMask { daif }
    }
}

impl Drop for IrqMask {
    #[inline(always)]
    fn drop(&mut self) {
        if self.daif & DAIF_I == 0 {
            // SAFETY: they were unmasked when this was made.
            unsafe { asm!("msr daifclr, #2", options(nostack, preserves_flags)) };
        }
    }
}

/// A spin lock that interrupt handlers may take too: whoever holds it has IRQs masked.
pub struct IrqLock<T> {
    inner: SpinMutex<T>,
}

/// Holds an [`IrqLock`]. The fields drop in order: the lock is released before IRQs are unmasked.
pub struct IrqLockGuard<'a, T> {
    inner: SpinMutexGuard<'a, T>,
    _mask: IrqMask,
}

impl<T> IrqLock<T> {
    /// An unlocked lock around `value`.
    pub const fn new(value: T) -> Self {
        IrqLock { inner: SpinMutex::new(value) }
    }

    /// Masks IRQs, then takes the lock.
    #[inline(always)]
    pub fn lock(&self) -> IrqLockGuard<'_, T> {
        let mask = IrqMask::new();
        IrqLockGuard { inner: self.inner.lock(), _mask: mask }
    }

    /// Whether somebody holds it now.
    pub fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// Frees the lock.
    ///
    /// # Safety
    /// Whoever holds it never runs again.
    pub unsafe fn force_unlock(&self) {
        // SAFETY: as promised by the caller.
        unsafe { self.inner.force_unlock() };
    }
}

impl<T> Deref for IrqLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for IrqLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
