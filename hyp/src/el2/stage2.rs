//! Stage 2: what of the machine's memory a guest has, and at which addresses (Arm ARM D8, "Stage 2 translation").

use crate::memory::BLOCK;
use crate::percpu::{MAX_CPUS, this_cpu};
use crate::sync::IrqLock;
use crate::{cpu, read_sysreg, write_sysreg};
use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{PhysicalAddress, Stage2Attributes as Attributes};
use aarch64_paging::idmap::IdTranslation;
use aarch64_paging::paging::{self, Constraints, MemoryRegion};
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use drivers::dt::Region;

/// Bits of a guest's physical address: what one table of level 1 holds, if the machine has as many.
const IPA_BITS: u64 = 39;

const RAM: Attributes = Attributes::VALID
    .union(Attributes::ACCESS_FLAG)
    .union(Attributes::SH_INNER)
    .union(Attributes::S2AP_ACCESS_RW)
    .union(Attributes::MEMATTR_NORMAL_OUTER_WB)
    .union(Attributes::MEMATTR_NORMAL_INNER_WB);

/// The registers of GICV: a guest's accesses are as they are on Device memory.
const DEVICE: Attributes = Attributes::VALID
    .union(Attributes::ACCESS_FLAG)
    .union(Attributes::S2AP_ACCESS_RW)
    .union(Attributes::XN)
    .union(Attributes::MEMATTR_DEVICE_nGnRE);

/// The tables of one guest.
pub struct Stage2 {
    map: IrqLock<Mapping<IdTranslation<Attributes>, paging::Stage2>>,
    /// VTTBR_EL2.
    vttbr: u64,
    /// The vCPU whose translations each CPU's TLB may hold.
    last: [AtomicUsize; MAX_CPUS],
}

/// Sets VTCR_EL2, which is the same for all guests: 4 KiB granule, walks cacheable and inner-shareable, from level 1 on (SL0),
/// as many bits of physical address as there are (PS, from PARange).
pub fn init() {
    /// Bits of address by PARange.
    const BITS: [u64; 6] = [32, 36, 40, 42, 44, 48];
    let range = (read_sysreg!("id_aa64mmfr0_el1") & 0xf).min(5);
    let bits = IPA_BITS.min(BITS[range as usize]);
    let vtcr = 1 << 31 | range << 16 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 0b01 << 6 | (64 - bits);
    // SAFETY: no guest runs yet.
    unsafe { write_sysreg!("vtcr_el2", vtcr) };
    cpu::isb();
}

/// A table of level 1 that maps nothing.
#[repr(C, align(4096))]
struct Empty([u64; 512]);
static EMPTY: Empty = Empty([0; 512]);

/// No guest runs on this CPU: it walks no guest's tables, not even speculatively.
pub fn leave() {
    // SAFETY: VMID 0 is no guest's.
    unsafe { write_sysreg!("vttbr_el2", &raw const EMPTY.0 as u64) };
    cpu::isb();
}

impl Stage2 {
    /// Tables that map nothing. `vmid` is not 0, nor another guest's.
    pub fn new(vmid: u8) -> Self {
        let map = Mapping::new(IdTranslation::new(), 1, paging::Stage2);
        let vttbr = u64::from(vmid) << 48 | map.root_address().0 as u64;
        Stage2 { map: IrqLock::new(map), vttbr, last: [const { AtomicUsize::new(usize::MAX) }; MAX_CPUS] }
    }

    /// Maps RAM at `ipa`, in blocks.
    pub fn map_ram(&self, ipa: u64, ram: Region) {
        assert!((ipa | ram.base | ram.size).is_multiple_of(BLOCK), "RAM is given in blocks");
        self.map(ipa, ram, RAM);
    }

    /// Forgets what TLBs hold of the guest, which no CPU runs any more.
    pub fn forget(&self) {
        // SAFETY: this CPU, which is idle, translates by these tables for the instructions between, none of which is EL1's.
        unsafe {
            write_sysreg!("vttbr_el2", self.vttbr);
            asm!("isb", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags));
        }
        leave();
    }

    /// Maps device registers at `ipa`.
    pub fn map_device(&self, ipa: u64, device: Region) {
        self.map(ipa, device, DEVICE);
    }

    fn map(&self, ipa: u64, region: Region, attributes: Attributes) {
        let range = MemoryRegion::new(ipa as usize, (ipa + region.size) as usize);
        self.map
            .lock()
            .map_range(&range, PhysicalAddress(region.base as usize), attributes, Constraints::empty())
            .expect("a guest's memory is below the bits of its addresses");
        // SAFETY: a barrier: table walks see it from here on. Nothing was mapped there, so no TLB holds it.
        unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    }

    /// Has this CPU translate for the guest's vCPU of this number. EL1's translations are tagged with the guest, not with the vCPU:
    /// two of its vCPUs may use one ASID for different things, so that another one's go.
    ///
    /// # Safety
    /// The vCPU is about to become current.
    pub unsafe fn enter(&self, vcpu: usize) {
        // SAFETY: EL2 does not translate by these tables.
        unsafe {
            write_sysreg!("vttbr_el2", self.vttbr);
            if self.last[this_cpu().index].swap(vcpu, Relaxed) != vcpu {
                asm!("isb", "tlbi vmalle1", "dsb nsh", "isb", options(nostack, preserves_flags));
            }
        }
    }
}
