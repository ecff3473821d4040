//! Where a guest finds what: as on QEMU's `virt`. The hypervisor has it there, and the device tree that the tool makes for the guest
//! says so.

/// RAM.
pub const RAM: u64 = 0x4000_0000;
/// The interrupt controller's distributor.
pub const GICD: u64 = 0x0800_0000;
/// GICv2's CPU interface.
pub const GICC: u64 = 0x0801_0000;
/// GICv3's redistributors, one behind the other.
pub const GICR: u64 = 0x080a_0000;
/// Bytes of the frames of one redistributor.
pub const GICR_SIZE: u64 = 0x2_0000;
/// The PL011.
pub const UART: u64 = 0x0900_0000;
/// Its interrupt, an SPI, by INTID.
pub const UART_IRQ: u32 = 33;
/// The pvpanic device, a register of one byte.
pub const PVPANIC: u64 = 0x0906_0000;
