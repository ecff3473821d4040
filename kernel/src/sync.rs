//! Masking IRQs, and the one lock of this kernel, which masks them while it is held.

use crate::site::trace_point;
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
        unsafe {
            asm!("mrs {}, daif", out(reg) daif, options(nostack, preserves_flags));
            trace_point!(IRQS_OFF, first "msr daifset, #2");
        }
        IrqMask { daif }
    }
}

impl Drop for IrqMask {
    #[inline(always)]
    fn drop(&mut self) {
        if self.daif & DAIF_I == 0 {
            // SAFETY: they were unmasked when this was made.
            unsafe { trace_point!(IRQS_ON, last "msr daifclr, #2") };
        }
    }
}

/// IRQs and SErrors are masked while this lives; dropped, they are as they were before.
#[must_use]
pub struct AsynchronousMask {
    daif: u64,
}

impl AsynchronousMask {
    /// Masks both on this CPU.
    pub fn new() -> Self {
        let daif;
        // SAFETY: masking is always allowed. Not `nomem`: accesses must not move out of the masked stretch.
        unsafe {
            asm!("mrs {}, daif", out(reg) daif, options(nostack, preserves_flags));
            trace_point!(IRQS_OFF, first "msr daifset, #6");
        }
        AsynchronousMask { daif }
    }
}

impl Drop for AsynchronousMask {
    fn drop(&mut self) {
        // SAFETY: as it was when this was made.
        unsafe { trace_point!(DAIF, last "msr daif, {a}", self.daif) };
    }
}

/// Whether IRQs are masked on this CPU.
pub fn irqs_masked() -> bool {
    let daif: u64;
    // SAFETY: a read of DAIF.
    unsafe { asm!("mrs {}, daif", out(reg) daif, options(nostack, preserves_flags)) };
    daif & DAIF_I != 0
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

    /// Takes the lock if it is free; for reports, which must not wait for whoever was interrupted.
    pub fn try_lock(&self) -> Option<IrqLockGuard<'_, T>> {
        let mask = IrqMask::new();
        Some(IrqLockGuard { inner: self.inner.try_lock()?, _mask: mask })
    }
}

impl<T> IrqLock<T> {
    /// Takes the lock, where IRQs are masked and stay so.
    #[inline(always)]
    pub fn lock_masked(&self) -> SpinMutexGuard<'_, T> {
        self.inner.lock()
    }

    /// Takes the lock if it is free, where IRQs are masked and stay so.
    pub fn try_lock_masked(&self) -> Option<SpinMutexGuard<'_, T>> {
        self.inner.try_lock()
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

impl<T> IrqLock<T> {
    /// Frees the lock.
    ///
    /// # Safety
    /// Whoever holds it never runs again.
    pub unsafe fn force_unlock(&self) {
        // SAFETY: as promised by the caller.
        unsafe { self.inner.force_unlock() };
    }
}
