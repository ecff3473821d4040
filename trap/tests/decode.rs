//! The typed decode, class by class, against values built by hand from the Arm ARM's ISS encodings.

use trap::esr::{Ec, Esr};
use trap::exception::*;
use trap::fault::{FaultStatus, Severity};
use trap::sysreg::SystemRegister;

/// A syndrome of class `ec`.
fn esr(ec: u64, iss: u64) -> Esr {
    Esr(ec << 26 | 1 << 25 | iss)
}

fn decode(ec: u64, iss: u64) -> Exception {
    esr(ec, iss).decode()
}

const ABORT: Abort =
    Abort { lower: true, status: FaultStatus::Translation(3), severity: None, stage1_walk: false, far_valid: true };

const READ: DataAccess = DataAccess { write: false, maintenance: false, vncr: false, transfer: None };

#[test]
fn classes_without_particulars() {
    for (ec, exception) in [
        (0x00, Exception::Unknown),
        (0x07, Exception::FpSimd),
        (0x09, Exception::PointerAuthentication),
        (0x0e, Exception::IllegalState),
        (0x19, Exception::Sve),
        (0x1f, Exception::ImplementationDefined),
        (0x22, Exception::PcAlignment),
        (0x26, Exception::SpAlignment),
        (0x30, Exception::Breakpoint { lower: true }),
        (0x31, Exception::Breakpoint { lower: false }),
        (0x3a, Exception::VectorCatch),
        (0x3d, Exception::Profiling),
    ] {
        assert_eq!(decode(ec, 0), exception);
        assert_eq!(decode(ec, 0x1ff_ffff), exception);
    }
}

#[test]
fn classes_not_allocated_are_kept_whole() {
    let not_allocated = [0x02, 0x0b, 0x0f, 0x10, 0x23, 0x29, 0x2a, 0x2b, 0x2e, 0x36, 0x37, 0x39, 0x3b, 0x3e, 0x3f];
    for ec in 0..64 {
        let esr = Esr(ec << 26 | 0xffff_ffff_01ff_ffff);
        assert_eq!(esr.decode() == Exception::Unallocated(esr), not_allocated.contains(&ec), "EC {ec:#x}");
    }
}

#[test]
fn waits() {
    let wait = |instruction, timeout| Exception::Wait { instruction, timeout };
    assert_eq!(decode(0x01, 0), wait(Wait::Wfi, None));
    assert_eq!(decode(0x01, 1), wait(Wait::Wfe, None));
    assert_eq!(decode(0x01, 2 | 1 << 2 | 7 << 5), wait(Wait::Wfit, Some(7)));
    assert_eq!(decode(0x01, 3 | 7 << 5), wait(Wait::Wfet, None), "RV is clear");
}

#[test]
fn coprocessors() {
    let iss = 5 << 17 | 6 << 14 | 7 << 10 | 8 << 5 | 9 << 1 | 1;
    for (ec, coprocessor) in [(0x03, 15), (0x05, 14), (0x08, 10)] {
        let access = CoprocessorAccess { coprocessor, opc1: 6, rt: 8, crn: 7, crm: 9, opc2: 5, read: true };
        assert_eq!(decode(ec, iss), Exception::Coprocessor(access));
    }
    let iss = 9 << 16 | 5 << 10 | 6 << 5 | 7 << 1;
    for (ec, coprocessor) in [(0x04, 15), (0x0c, 14)] {
        let access = CoprocessorPairAccess { coprocessor, opc1: 9, rt: 6, rt2: 5, crm: 7, read: false };
        assert_eq!(decode(ec, iss), Exception::CoprocessorPair(access));
    }
    let memory = |load, base, offset| Exception::CoprocessorMemory { load, base, offset };
    assert_eq!(decode(0x06, 255 << 12 | 3 << 5 | 2 << 1), memory(false, Some(3), -1020));
    assert_eq!(decode(0x06, 2 << 12 | 3 << 5 | 1 << 4 | 4 << 1 | 1), memory(true, None, 8), "a literal has no base");
}

#[test]
fn calls() {
    let call = |instruction, aarch32, immediate| Exception::Call { instruction, aarch32, immediate };
    for (ec, instruction, aarch32) in [
        (0x11, Call::Svc, true),
        (0x12, Call::Hvc, true),
        (0x15, Call::Svc, false),
        (0x16, Call::Hvc, false),
        (0x17, Call::Smc, false),
    ] {
        assert_eq!(decode(ec, 0x1_ffff), call(instruction, aarch32, Some(0xffff)));
    }
    assert_eq!(decode(0x13, 0xffff), call(Call::Smc, true, None));
}

#[test]
fn system_registers() {
    let register = SystemRegister { op0: 3, op1: 3, crn: 14, crm: 0, op2: 2 };
    let iss = 3 << 20 | 2 << 17 | 3 << 14 | 14 << 10 | 31 << 5 | 1;
    assert_eq!(decode(0x18, iss), Exception::System(SystemAccess { register, rt: 31, read: true }));
    assert_eq!(decode(0x18, iss & !1), Exception::System(SystemAccess { register, rt: 31, read: false }));
    assert_eq!(decode(0x14, iss), Exception::System128(SystemAccess { register, rt: 30, read: true }));
}

#[test]
fn extensions() {
    let eret = |authenticated, key_b| Exception::Eret { authenticated, key_b };
    for (ec, iss, exception) in [
        (0x0a, 2, Exception::LoadStore64(2)),
        (0x0d, 3, Exception::BranchTarget(3)),
        (0x1a, 0, eret(false, false)),
        (0x1a, 1, eret(false, false)),
        (0x1a, 2, eret(true, false)),
        (0x1a, 3, eret(true, true)),
        (0x1b, 5 << 5, Exception::TransactionStart(5)),
        (0x1c, 1, Exception::AuthenticationFailure { data_key: false, key_b: true }),
        (0x1c, 2, Exception::AuthenticationFailure { data_key: true, key_b: false }),
        (0x1d, 4, Exception::Sme(4)),
        (0x1e, 0x28, Exception::GranuleProtection(FaultStatus::GranuleProtection)),
        (0x2d, 2 << 20, Exception::GuardedControlStack(2)),
    ] {
        assert_eq!(decode(ec, iss), exception);
    }
    let operation = MemoryOperation {
        set: true,
        epilogue: true,
        wrong_option: false,
        option_a: true,
        destination: 1,
        source: 2,
        size: 3,
    };
    assert_eq!(decode(0x27, 1 << 24 | 1 << 18 | 1 << 16 | 1 << 10 | 2 << 5 | 3), Exception::MemoryOperation(operation));
}

#[test]
fn aborts_of_every_status() {
    for code in 0..64 {
        let status = FaultStatus::decode(code);
        let severity = (code == 0x10).then_some(Severity::Recoverable);
        for (lower, instruction, data) in [(true, 0x20, 0x24), (false, 0x21, 0x25)] {
            let abort = Abort { lower, status, severity, ..ABORT };
            assert_eq!(decode(instruction, code.into()), Exception::InstructionAbort(abort));
            assert_eq!(decode(data, code.into()), Exception::DataAbort(abort, READ));
        }
    }
}

#[test]
fn particulars_of_aborts() {
    let data = |iss| match decode(0x24, iss) {
        Exception::DataAbort(abort, access) => (abort, access),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(1 << 6 | 7), (ABORT, DataAccess { write: true, ..READ }));
    assert_eq!(data(1 << 8 | 1 << 6 | 7), (ABORT, DataAccess { write: true, maintenance: true, ..READ }));
    assert_eq!(data(1 << 13 | 7), (ABORT, DataAccess { vncr: true, ..READ }));
    assert_eq!(data(1 << 7 | 7), (Abort { stage1_walk: true, ..ABORT }, READ));
    let load = Transfer { bytes: 4, sign_extend: true, register: 9, wide: true, ordered: false };
    let iss = 1 << 24 | 2 << 22 | 1 << 21 | 9 << 16 | 1 << 15 | 7;
    assert_eq!(data(iss), (ABORT, DataAccess { transfer: Some(load), ..READ }));
    assert_eq!(data(iss & !(1 << 24)), (ABORT, READ), "ISV is clear");

    let external = Abort { status: FaultStatus::External, ..ABORT };
    for (set, severity) in
        [(0, Severity::Recoverable), (1, Severity::Reserved), (2, Severity::Uncontainable), (3, Severity::Restartable)]
    {
        assert_eq!(data(set << 11 | 0x10).0, Abort { severity: Some(severity), ..external });
    }
    let severity = Some(Severity::Recoverable);
    assert_eq!(data(1 << 10 | 0x10).0, Abort { severity, far_valid: false, ..external });
    assert_eq!(data(1 << 10 | 7).0, ABORT, "FnV means nothing in a translation fault");
}

#[test]
fn floating_point() {
    let all = FloatFlags {
        invalid_operation: true,
        division_by_zero: true,
        overflow: true,
        underflow: true,
        inexact: true,
        input_denormal: true,
    };
    let float = |aarch32, flags| Exception::Float { aarch32, flags };
    assert_eq!(decode(0x2c, 1 << 23 | 0x9f), float(false, Some(all)));
    assert_eq!(
        decode(0x28, 1 << 23 | 2),
        float(true, Some(FloatFlags { division_by_zero: true, ..Default::default() }))
    );
    assert_eq!(decode(0x2c, 0x9f), float(false, None), "TFV is clear");
}

#[test]
fn errors_and_which_may_be_resumed() {
    let serror = |iss| match decode(0x2f, iss) {
        Exception::SError(error) => error,
        other => panic!("{other:?}"),
    };
    for (iss, severity, resumable) in [
        (0x11, Severity::Uncontainable, false),
        (1 << 10 | 0x11, Severity::Unrecoverable, false),
        (2 << 10 | 0x11, Severity::Restartable, true),
        (3 << 10 | 0x11, Severity::Recoverable, false),
        (4 << 10 | 0x11, Severity::Reserved, false),
        (6 << 10 | 0x11, Severity::Corrected, true),
        (6 << 10, Severity::Uncategorised, false),
        (6 << 10 | 0x12, Severity::Reserved, false),
        (1 << 24 | 6 << 10 | 0x11, Severity::ImplementationDefined, false),
    ] {
        assert_eq!(serror(iss), SError { severity, external_type: false, synchronised: false });
        assert_eq!(severity.may_resume(), resumable);
    }
    let error = serror(1 << 13 | 1 << 9 | 0x11);
    assert!(error.external_type && error.synchronised);
}

#[test]
fn debug_events() {
    for (lower, step, watchpoint) in [(true, 0x32, 0x34), (false, 0x33, 0x35)] {
        let stepped = |exclusive| Exception::Step { lower, exclusive };
        assert_eq!(decode(step, 1 << 24 | 1 << 6 | 0x22), stepped(Some(true)));
        assert_eq!(decode(step, 1 << 24 | 0x22), stepped(Some(false)));
        assert_eq!(decode(step, 1 << 6 | 0x22), stepped(None));
        let watched = |write, number| Exception::Watchpoint { lower, write, number };
        assert_eq!(decode(watchpoint, 3 << 18 | 1 << 17 | 1 << 6 | 0x22), watched(true, Some(3)));
        assert_eq!(decode(watchpoint, 3 << 18 | 0x22), watched(false, None));
    }
    assert_eq!(decode(0x38, 0x1_1234), Exception::Bkpt32(0x1234));
    assert_eq!(decode(0x3c, 0x1_f000), Exception::Brk(0xf000));
}

#[test]
fn classes_compare_as_constants() {
    const IS_SVC: bool = matches!(Esr(0x5600_0000).ec(), Ec::SVC64);
    const { assert!(IS_SVC) };
}
