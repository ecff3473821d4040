//! The emulated UART: an Arm PrimeCell PL011, r1p5 (DDI 0183, chapter 3, "Programmers Model").
//!
//! What a guest sends leaves at once: [`Pl011::write`] gives it to the caller. So the transmit FIFO is always empty,
//! and each byte written passes through it: that is what raises the transmit interrupt, as on hardware the draining of
//! the FIFO through its trigger level does. What the guest is to receive is put in by [`Pl011::receive`]; a caller with
//! more than fits, or with something for a guest that does not listen yet, asks [`Pl011::listens`] and
//! [`Pl011::has_room`] after each access. [`Pl011::line`] is the interrupt, level-sensitive.
//!
//! The wire takes bytes whether the guest has enabled the UART or not: early consoles (Linux's `earlycon`) rely on
//! firmware having done so.

use heapless::Deque;

/// Depth of the receive FIFO: 32 from r1p5 on, which drivers conclude from the revision in UARTPeriphID2.
pub const FIFO_DEPTH: usize = 32;

/// Size of the register block in bytes.
pub const SIZE: u64 = 0x1000;

// Offsets (table 3-1).
const DR: u64 = 0x000;
const RSR_ECR: u64 = 0x004;
const FR: u64 = 0x018;
const ILPR: u64 = 0x020;
const IBRD: u64 = 0x024;
const FBRD: u64 = 0x028;
const LCR_H: u64 = 0x02c;
const CR: u64 = 0x030;
const IFLS: u64 = 0x034;
const IMSC: u64 = 0x038;
const RIS: u64 = 0x03c;
const MIS: u64 = 0x040;
const ICR: u64 = 0x044;
const DMACR: u64 = 0x048;
const PERIPH_ID0: u64 = 0xfe0;

/// A driver that reads the flags this often, and does nothing else in between, waits for a character.
const POLLS: u8 = 16;

/// UARTPeriphID0 to 3 and UARTPCellID0 to 3, a byte each: part 0x011, designer 0x41 (Arm), revision 3 (r1p5).
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

// UARTDR, and 8 bits lower UARTRSR.
const OE: u16 = 1 << 11;
// UARTFR. The modem lines are as a terminal that is always ready has them.
const CTS_DSR_DCD: u16 = 0b111;
const RXFE: u16 = 1 << 4;
const RXFF: u16 = 1 << 6;
const TXFE: u16 = 1 << 7;
// UARTLCR_H.
const FEN: u16 = 1 << 4;
// UARTCR.
const UARTEN: u16 = 1 << 0;
const LBE: u16 = 1 << 7;
const RXE: u16 = 1 << 9;
// UARTIMSC, UARTRIS, UARTMIS, UARTICR.
const RX: u16 = 1 << 4;
const TX: u16 = 1 << 5;
const RT: u16 = 1 << 6;
const OVERRUN: u16 = 1 << 10;
const INTERRUPTS: u16 = 0x7ff;

/// The UART of one guest.
#[derive(Clone, Debug)]
pub struct Pl011 {
    /// Received characters, each with its error bits as UARTDR has them.
    received: Deque<u16, FIFO_DEPTH>,
    /// A character was lost; the next one to be received says so.
    overrun: bool,
    rsr: u16,
    ilpr: u16,
    ibrd: u16,
    fbrd: u16,
    lcr_h: u16,
    cr: u16,
    ifls: u16,
    imsc: u16,
    ris: u16,
    dmacr: u16,
    /// How often the flags were read in a row.
    polls: u8,
}

impl Default for Pl011 {
    fn default() -> Pl011 {
        Pl011::new()
    }
}

impl Pl011 {
    /// The UART out of reset (table 3-1).
    pub const fn new() -> Pl011 {
        Pl011 {
            received: Deque::new(),
            overrun: false,
            rsr: 0,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            cr: 0x300,
            ifls: 0x12,
            imsc: 0,
            ris: 0,
            dmacr: 0,
            polls: 0,
        }
    }

    /// Whether the interrupt is asserted (UARTINTR).
    pub const fn line(&self) -> bool {
        self.ris & self.imsc != 0
    }

    /// Whether another character can be received and none be lost.
    pub fn has_room(&self) -> bool {
        self.received.len() < self.depth()
    }

    /// Whether the guest takes what it receives: it has receiving enabled and an interrupt for it, or polls. What comes
    /// earlier a driver throws away when it sets up the UART.
    pub const fn listens(&self) -> bool {
        self.cr & (UARTEN | RXE) == UARTEN | RXE && self.imsc & (RX | RT) != 0 || self.polls >= POLLS
    }

    /// A character comes in over the wire. One that finds no room is lost, as on hardware: an overrun.
    pub fn receive(&mut self, byte: u8) {
        if !self.has_room() {
            self.overrun = true;
            self.ris |= OVERRUN;
            return;
        }
        let error = if core::mem::take(&mut self.overrun) { OE } else { 0 };
        // There is room.
        let _ = self.received.push_back(u16::from(byte) | error);
        if self.received.len() >= self.receive_trigger() {
            self.ris |= RX;
        }
        // Set when characters wait and none has come for 32 bit periods: a time that passes at once here.
        self.ris |= RT;
    }

    /// What the guest reads. An access is to the register that its offset is the address of, whatever its size;
    /// anywhere else reads 0.
    pub fn read(&mut self, offset: u64) -> u64 {
        self.polls = if offset == FR { self.polls.saturating_add(1) } else { 0 };
        let value = match offset {
            DR => self.take(),
            RSR_ECR => self.rsr,
            FR => self.flags(),
            ILPR => self.ilpr,
            IBRD => self.ibrd,
            FBRD => self.fbrd,
            LCR_H => self.lcr_h,
            CR => self.cr,
            IFLS => self.ifls,
            IMSC => self.imsc,
            RIS => self.ris,
            MIS => self.ris & self.imsc,
            DMACR => self.dmacr,
            PERIPH_ID0..SIZE if offset.is_multiple_of(4) => IDENTIFICATION[((offset - PERIPH_ID0) / 4) as usize].into(),
            _ => 0,
        };
        value.into()
    }

    /// The guest writes; the result is what goes out over the wire. Writes to what is no register, or a read-only one,
    /// are ignored.
    pub fn write(&mut self, offset: u64, value: u64) -> Option<u8> {
        let value = value as u16;
        self.polls = 0;
        match offset {
            DR => {
                self.ris |= TX;
                if self.cr & LBE == 0 {
                    return Some(value as u8);
                }
                self.receive(value as u8);
            }
            RSR_ECR => self.rsr = 0,
            ILPR => self.ilpr = value & 0xff,
            IBRD => self.ibrd = value,
            FBRD => self.fbrd = value & 0x3f,
            LCR_H => self.set_line_control(value & 0xff),
            // Bits 6 to 3 are reserved.
            CR => self.cr = value & 0xff87,
            IFLS => self.ifls = value & 0x3f,
            IMSC => self.imsc = value & INTERRUPTS,
            ICR => self.ris &= !value,
            DMACR => self.dmacr = value & 7,
            _ => {}
        }
        None
    }

    /// The next received character, with its error bits. UARTRSR keeps those bits of the last one read.
    fn take(&mut self) -> u16 {
        let character = self.received.pop_front().unwrap_or(0);
        self.rsr = character >> 8;
        if self.received.len() < self.receive_trigger() {
            self.ris &= !RX;
        }
        if self.received.is_empty() {
            self.ris &= !RT;
        }
        character
    }

    fn flags(&self) -> u16 {
        let empty = if self.received.is_empty() { RXFE } else { 0 };
        let full = if self.has_room() { 0 } else { RXFF };
        CTS_DSR_DCD | TXFE | empty | full
    }

    /// Enabling and disabling the FIFOs flushes them (3.3.7, "Line Control Register": FEN).
    fn set_line_control(&mut self, value: u16) {
        if (self.lcr_h ^ value) & FEN != 0 {
            self.received.clear();
            self.ris &= !(RX | RT);
        }
        self.lcr_h = value;
    }

    /// A FIFO that is disabled is one character deep.
    const fn depth(&self) -> usize {
        if self.lcr_h & FEN != 0 { FIFO_DEPTH } else { 1 }
    }

    /// How many characters raise the receive interrupt: UARTIFLS.RXIFLSEL, in eighths of the depth.
    const fn receive_trigger(&self) -> usize {
        if self.lcr_h & FEN == 0 {
            return 1;
        }
        let eighths = match self.ifls >> 3 & 7 {
            0 => 1,
            1 => 2,
            2 => 4,
            3 => 6,
            // The values beyond are reserved.
            _ => 7,
        };
        FIFO_DEPTH * eighths / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::VecDeque, vec::Vec};

    const EVERY: u64 = 0xff_ffff;

    /// A UART as drivers set it up: FIFOs on, receive trigger at `ifls`.
    fn uart(ifls: u64) -> Pl011 {
        let mut uart = Pl011::new();
        uart.write(LCR_H, 0x70);
        uart.write(IFLS, ifls << 3);
        uart.write(CR, 0x301);
        uart
    }

    #[test]
    fn identification() {
        let mut uart = Pl011::new();
        let id: Vec<u64> = (0xfe0..0x1000).step_by(4).map(|offset| uart.read(offset)).collect();
        // As Linux's AMBA bus puts them together: arm_amba_id 0x00041011 under mask 0x000fffff, PrimeCell 0xb105f00d.
        let word = |bytes: &[u64]| bytes.iter().rev().fold(0, |word, byte| word << 8 | byte);
        assert_eq!((word(&id[..4]), word(&id[4..])), (0x0034_1011, 0xb105_f00d));
    }

    #[test]
    fn reset_values_and_writable_bits() {
        for (offset, reset, writable) in [
            (ILPR, 0, 0xff),
            (IBRD, 0, 0xffff),
            (FBRD, 0, 0x3f),
            (LCR_H, 0, 0xff),
            (CR, 0x300, 0xff87),
            (IFLS, 0x12, 0x3f),
            (IMSC, 0, 0x7ff),
            (DMACR, 0, 7),
            (RIS, 0, 0),
            (MIS, 0, 0),
            (RSR_ECR, 0, 0),
            (FR, 0x97, 0x97),
            (ICR, 0, 0),
        ] {
            let mut uart = Pl011::new();
            assert_eq!(uart.read(offset), reset, "{offset:#x}");
            assert_eq!(uart.write(offset, EVERY), None);
            assert_eq!(uart.read(offset), writable, "{offset:#x}");
        }
    }

    #[test]
    fn between_registers_there_is_nothing() {
        let mut uart = Pl011::new();
        for offset in [0x008, 0x019, 0x031, 0x04c, 0xfdc, 0xfe1, 0xffe, SIZE, SIZE + FR, u64::MAX] {
            assert_eq!((uart.read(offset), uart.write(offset, EVERY)), (0, None), "{offset:#x}");
        }
        assert_eq!(uart.read(CR), 0x300);
    }

    #[test]
    fn what_is_sent_leaves_at_once() {
        let mut uart = uart(0);
        assert!(!uart.line());
        assert_eq!(uart.write(DR, 0x1_0241), Some(b'A'));
        assert_eq!(uart.read(FR), 0x97, "the FIFO is empty again");
        assert_eq!(Pl011::new().write(DR, 0x42), Some(b'B'), "not enabled by the guest");
    }

    #[test]
    fn the_transmit_interrupt_follows_a_write() {
        let mut uart = uart(0);
        uart.write(IMSC, TX.into());
        assert!(!uart.line(), "enabling it raises nothing: nothing went through the FIFO yet");
        uart.write(DR, 0);
        assert!(uart.line());
        uart.write(ICR, TX.into());
        assert!(!uart.line());
        uart.write(DR, 0);
        assert_eq!(uart.read(MIS), TX.into());
        uart.write(IMSC, 0);
        assert_eq!((uart.line(), uart.read(RIS)), (false, TX.into()), "masked, not cleared");
    }

    #[test]
    fn receive_and_timeout_interrupts() {
        // RXIFLSEL 0: an eighth of 32.
        let mut uart = uart(0);
        uart.write(IMSC, (RX | RT).into());
        for byte in 1..=3 {
            uart.receive(byte);
        }
        assert_eq!(uart.read(RIS), RT.into(), "fewer than the trigger: told by the time-out");
        uart.receive(4);
        assert_eq!(uart.read(RIS), (RX | RT).into());
        // As this project's kernel does: first clear, then read until it is empty.
        uart.write(ICR, (RX | RT).into());
        assert!(!uart.line());
        uart.receive(5);
        assert!(uart.line(), "what comes in after the clear is told");
        let mut read = Vec::new();
        while uart.read(FR) & u64::from(RXFE) == 0 {
            read.push(uart.read(DR));
        }
        assert_eq!(read, [1, 2, 3, 4, 5]);
        assert!(!uart.line(), "reading all of it is an acknowledgement too");
    }

    #[test]
    fn interrupts_that_are_masked_are_kept() {
        let mut uart = uart(0);
        (0..4).for_each(|byte| uart.receive(byte));
        assert!(!uart.line());
        for (mask, line) in [(RX, true), (RT, true), (TX | OVERRUN, false), (RX | RT, true), (0, false)] {
            uart.write(IMSC, mask.into());
            assert_eq!((uart.line(), uart.read(MIS)), (line, u64::from((RX | RT) & mask)), "{mask:#x}");
        }
        assert_eq!(uart.read(RIS), (RX | RT).into());
        // An overrun has its own.
        uart.write(IMSC, OVERRUN.into());
        (0..29).for_each(|byte| uart.receive(byte));
        assert!(uart.line());
        uart.write(ICR, OVERRUN.into());
        assert!(!uart.line());
    }

    #[test]
    fn a_guest_listens_by_interrupt_or_by_polling() {
        let mut uart = uart(0);
        for (mask, listens) in [(TX | OVERRUN, false), (RX, true), (RT, true), (0, false)] {
            uart.write(IMSC, mask.into());
            assert_eq!(uart.listens(), listens, "{mask:#x}");
        }
        uart.write(IMSC, RX.into());
        for (control, listens) in [(0x101, false), (0x200, false), (0x201, true), (0, false)] {
            uart.write(CR, control);
            assert_eq!(uart.listens(), listens, "{control:#x}");
        }
        // As one polls that sends, and one that waits to receive.
        for _ in 0..POLLS {
            uart.read(FR);
            uart.write(DR, 0);
        }
        assert!(!uart.listens());
        assert!((0..POLLS).all(|_| uart.read(FR) == 0x97));
        assert!(uart.listens());
        uart.read(DR);
        assert!(!uart.listens());
    }

    #[test]
    fn every_trigger_level() {
        for (ifls, characters) in [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28), (7, 28)] {
            let mut uart = uart(ifls);
            let raised = (1..=32).find(|_| {
                uart.receive(0);
                uart.read(RIS) & u64::from(RX) != 0
            });
            assert_eq!(raised, Some(characters));
            uart.read(DR);
            assert_eq!(uart.read(RIS) & u64::from(RX), 0, "below the trigger again");
        }
    }

    #[test]
    fn without_fifos_one_character() {
        let mut uart = Pl011::new();
        uart.receive(b'x');
        assert!(!uart.has_room());
        assert_eq!(uart.read(RIS), (RX | RT).into());
        assert_eq!((uart.read(FR), uart.read(DR), uart.read(FR)), (0xc7, b'x'.into(), 0x97));
    }

    #[test]
    fn an_overrun_loses_the_new_character_and_is_told_with_the_next() {
        let mut uart = uart(4);
        (0..33).for_each(|byte| uart.receive(byte));
        assert_eq!(uart.read(RIS) & u64::from(OVERRUN), OVERRUN.into());
        assert_eq!((uart.read(FR), uart.read(DR)), (0xc7, 0));
        uart.receive(40);
        let rest: Vec<u64> = (0..32).map(|_| uart.read(DR)).collect();
        assert_eq!(rest[..31], (1..32).collect::<Vec<_>>());
        assert_eq!((rest[31], uart.read(RSR_ECR)), (0x828, 8));
        uart.write(RSR_ECR, 0);
        assert_eq!(uart.read(RSR_ECR), 0);
    }

    #[test]
    fn loopback_receives_what_it_sends() {
        let mut uart = uart(0);
        uart.write(CR, 0x381);
        assert_eq!(uart.write(DR, 7), None);
        assert_eq!(uart.read(DR), 7);
    }

    #[test]
    fn switching_fifos_flushes_them() {
        let mut uart = uart(0);
        uart.receive(1);
        uart.write(LCR_H, 0x60);
        assert_eq!((uart.read(FR), uart.read(RIS)), (0x97, 0));
    }

    proptest! {
        #[test]
        fn any_access_anywhere_is_survived(
            offsets in prop::collection::vec(prop_oneof![0_u64..0x50, 0xfd0_u64..0x1010, any::<u64>()], 200),
            values: [u64; 32], writes: [bool; 31],
        ) {
            let mut uart = Pl011::new();
            // Of coprime lengths, so that they meet in all combinations.
            let others = values.into_iter().cycle().zip(writes.into_iter().cycle());
            for (offset, (value, write)) in offsets.into_iter().zip(others) {
                if write {
                    let sent = uart.write(offset, value);
                    prop_assert!(sent.is_none() || offset == DR);
                } else {
                    prop_assert!(uart.read(offset) <= 0xffff);
                }
                if value & 1 == 0 {
                    uart.receive(value as u8);
                }
                prop_assert_eq!(uart.line(), uart.read(MIS) != 0);
            }
        }

        /// Any mixture of receiving and reading, as drivers do it, keeps every character in order while the sender
        /// heeds `has_room`; and with both receive interrupts on, the line is asserted exactly while something waits.
        #[test]
        fn nothing_is_lost(fifos: bool, ifls in 0_u64..8, steps in prop::collection::vec(any::<bool>(), 0..300)) {
            let mut uart = Pl011::new();
            uart.write(LCR_H, if fifos { 0x70 } else { 0x60 });
            uart.write(IFLS, ifls << 3);
            uart.write(IMSC, (RX | RT).into());
            let (mut model, mut next) = (VecDeque::new(), 0_u8);
            for receive in steps {
                if receive && uart.has_room() {
                    uart.receive(next);
                    model.push_back(next);
                    next = next.wrapping_add(1);
                } else if uart.read(FR) & u64::from(RXFE) == 0 {
                    prop_assert_eq!(Some(uart.read(DR)), model.pop_front().map(u64::from));
                } else {
                    prop_assert!(model.is_empty());
                }
                prop_assert_eq!(uart.line(), !model.is_empty());
            }
        }
    }
}
