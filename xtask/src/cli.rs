//! The command line: what may be typed, and what each command does.

use crate::explain::log::{self, Found, Seen};
use crate::explain::report::{self, Form};
use crate::hyp::{self, Guest};
use crate::images::{Hypervisor, Images};
use crate::linux::Linux;
use crate::machine::{self, Config, Event, Input, Program};
use crate::setup::{self, Need};
use crate::symbols::Symbols;
use crate::trace::{self, About, Files};
use crate::{bench, check, console, differ, doctor, explain, fuzz, gdb, mutants, process, sweep, test, workspace};
use anyhow::{Context, Result, ensure};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Ventry: an AArch64 kernel whose every exception you can read, watch, break and prove
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    max_term_width = 100,
    after_help = "\
Examples:
  cargo xtask qemu          boot, run the demo suite, power off
  cargo xtask trace hello   the same for one program, with every exception drawn in hello.html
  cargo xtask test          run all tests"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring what the project needs on this machine; every other command brings its part by itself
    #[command(after_help = "\
It uses the system's packages (apt, dnf, pacman, brew), and sudo only when it must.

Examples:
  cargo xtask setup         all that is missing
  cargo xtask doctor        only look")]
    Setup,
    /// Say what this machine has of what the project needs, and the cure for what is missing
    #[command(after_help = "\
The exit code is 1 when something is missing or too old.

Examples:
  cargo xtask doctor
  cargo xtask doctor --json")]
    Doctor(DoctorArgs),
    /// Boot the kernel in QEMU and run a program
    #[command(
        override_usage = "cargo xtask qemu [OPTIONS] [PROGRAM [ARG]...]",
        after_help = "\
Exit code: the program's own; 128+n when signal n killed it; 121 when the kernel panicked; 124 when time was over; \
1 when the tool failed; 2 for wrong usage. Standard output carries the machine's console and nothing else.

Examples:
  cargo xtask qemu                                    the demo suite
  cargo xtask qemu crash null                         one program, with an argument
  cargo xtask qemu --gic 2 --cpu cortex-a53 preempt   another machine
  cargo xtask qemu --exec ./a.out one two             a static AArch64 ELF file of yours
  cargo xtask qemu --ktest overflow                   one in-kernel test
  cargo xtask qemu --interactive                      a shell; `exit` powers off"
    )]
    Qemu(QemuArgs),
    /// Boot the kernel in QEMU and write down every exception: a page for the browser, and the same for Perfetto
    #[command(
        override_usage = "cargo xtask trace [OPTIONS] [PROGRAM [ARG]...]",
        after_help = "\
The machine, the program, the options and the exit code are as for `cargo xtask qemu`, but with \
instruction-exact time (--icount=4), so that every run shows the same. NAME.html needs nothing but \
a browser; NAME.json is for Perfetto. Times and costs are instructions, as if nobody had traced. \
However the machine ends, what happened last is in them: after Ctrl-C too.

Examples:
  cargo xtask trace preempt              preempt.html and preempt.json, here
  cargo xtask trace -o /tmp/c crash null /tmp/c.html and /tmp/c.json
  cargo xtask trace --ktest overflow     one in-kernel test, up to its end
  cargo xtask trace --ring 64            more events, before the oldest are overwritten
  cargo xtask trace --text hello | head  as Linux's ftrace prints them"
    )]
    Trace(TraceArgs),
    /// Boot the kernel in QEMU, stopped at the first instruction, with gdb attached
    #[command(
        override_usage = "cargo xtask gdb [OPTIONS] [PROGRAM [ARG]...]",
        after_help = "\
The machine, the program and the options are as for `cargo xtask qemu`; with --interactive QEMU names the terminal to \
open (`screen /dev/pts/N`). gdb knows three commands more:
  ventry-frame [ADDRESS]    the registers that an exception saved, in words
  ventry-chain              the functions the CPU is in, through all exceptions
  ventry-slot               the vector slot the PC is in

Examples:
  cargo xtask gdb crash null
  cargo xtask gdb --ktest overflow
  echo 'info registers' | cargo xtask gdb --cpu max"
    )]
    Gdb(MachineArgs),
    /// Boot the hypervisor in QEMU, with guests
    #[command(after_help = "\
Without --guest: two guests, `left` and `right`, each this project's kernel as it is for a bare machine, running its \
demo suite side by side. Each line of a guest's console comes with the guest's name. In the end, on standard error, \
what the guests did, and what their traps cost, in instructions: time is instruction-exact (--icount=4) with one CPU.
With --guest, --icount has that told.

GUEST is FILE[,KEY=VALUE]...; a comma within is doubled. FILE is a flat image, an arm64 Image (packed by gzip, too) or \
an ELF file, or one of two words: `kernel` is this project's kernel with its programs, `linux` Debian's kernel with a shell (brought by apt). \
Guests are called guest1, guest2 and so on, up to eight.

  initrd=FILE        its initramfs
  append=ARGS        its boot arguments
  mem=MIB            its RAM, 64 to 1024 [default: 64; of linux 256]
  vcpus=N            1 to 8 [default: 1]
  dtb=FILE           a device tree of yours, which append, initrd, vcpus and
                     device do not change
  device=pl031       it has the machine's clock to itself, with its interrupt
  serrors=diverse    it takes the SErrors that it leaves pending [default]
  serrors=panic      nobody looks for them: one stops the hypervisor
  service=on         it may call the test service, which gives it SErrors
  service=PLAN       it is given them, by words with spaces between: after=TICKS,
                     at=0xADDRESS, iss=0xISS, every=TICKS

With --guest, standard input is the first guest's, whose console comes as it is; Ctrl-A three times in a row passes it \
to the next guest. At a terminal, Ctrl-] X ends the machine.

The hypervisor's boot arguments (--append): `crash=N`, crash at the Nth trap; `ssbd=force`, count the calls of the \
mitigation of speculative store bypass, as if the machine needed it.

Exit code: 0 when every guest powered off; 3 when one panicked or was ended; 121 when the hypervisor panicked or \
refused what it was given; 124 when time was over; 1 when the tool failed; 2 for wrong usage. docs/hypervisor.md tells \
more.

Examples:
  cargo xtask hyp                            two of our kernels
  cargo xtask hyp --gic 2 --smp 2            another machine
  cargo xtask hyp --guest linux              a shell; `exit` powers off
  cargo xtask hyp --guest linux,vcpus=2 --guest kernel
  cargo xtask hyp --guest vmlinuz,initrd=i.gz,append=console=ttyAMA0,mem=256
  cargo xtask hyp --json                     the summary for tools
  cargo xtask hyp --trace traps              traps.html for a browser,
                                             traps.json for Perfetto
  cargo xtask hyp --trace traps.txt          the same as Linux's ftrace prints it
  cargo xtask hyp --append crash=5000        a crash, and its report")]
    Hyp(HypArgs),
    /// Say what a syndrome (ESR_EL1), or each report in a log, means in words
    #[command(after_help = "\
Numbers are hexadecimal, with or without 0x. Without one, or with `-`, a log is read from standard \
input, of any AArch64 kernel that prints ESR, ELR and FAR: Ventry's console and records, oopses of \
Linux, U-Boot, QEMU's `-d int`, and others. The exit code is 1 when there is no report in it.

Examples:
  cargo xtask explain 0x96000045 0xdead0000
  cargo xtask explain < oops.txt
  dmesg | cargo xtask explain --elf vmlinux
  cargo xtask qemu crash all | cargo xtask explain --brief
  cargo xtask qemu --json crash null | cargo xtask explain
  cargo xtask explain --brief 96000045
  cargo xtask explain --pstate 0x600003c5")]
    Explain(ExplainArgs),
    /// Run all tests: those of the host, and those that start machines
    #[command(after_help = "\
Ends with the line `N passed, M failed`; the exit code is 1 when M is not 0 or when no test's name holds FILTER.

Examples:
  cargo xtask test
  cargo xtask test qemu::programs
  cargo xtask test --list")]
    Test(TestArgs),
    /// Count what each path costs, in instructions, beside what it did cost, the least it can, and Linux
    #[command(after_help = "\
Every figure is of one operation, the few instructions of the loop that does it included; docs/cost.md tells how they are \
counted. The exit code is 1 when one is more than 2 % above that in tests/bench.json, which goes by the version of the \
compiler; of another version nothing is compared.

Examples:
  cargo xtask bench
  cargo xtask bench getpid yield
  cargo xtask bench --against linux --against linux-lean
  cargo xtask bench --cpu max --gic 2 --json
  cargo xtask bench el2
  cargo xtask bench --update         these are the figures from now on")]
    Bench(bench::Args),
    /// Put faults into a copy of the code, one at a time, and see that the tests notice
    #[command(after_help = "\
The faults are listed in tests/mutants.toml. Ends with the line `N passed, M failed`.

Examples:
  cargo xtask mutants
  cargo xtask mutants barrier
  cargo xtask mutants --every 5        a fifth of them, always the same")]
    Mutants(MutantsArgs),
    /// Run what observes a kernel on this one and on Debian's Linux, and say what differs
    #[command(after_help = "\
The groups: calls (each system call, with each argument wrong), results (what calls write), memory (what mappings become), \
ends (wait statuses), start (stack and auxiliary vector), registers, crash (every fault), idregs.

The exit code is 1 when a difference is not listed in tests/differ.toml, or what is listed there is no difference. Linux \
comes as a package, by apt. docs/differ.md tells more.

Examples:
  cargo xtask differ
  cargo xtask differ start ends
  cargo xtask differ --json")]
    Differ(differ::Args),
    /// Have an interrupt come at every instruction of the kernel's paths, and see that nothing changes by it
    #[command(after_help = "\
Each scenario is done again and again, with an interrupt one instruction later each time; behind each, all registers, the \
result, the stacks, preempt_count and the masks must be as ever. `covered` is how many of the instructions at which an \
interrupt can come had one; `masked` the longest stretch of instructions in which none can come, `waited` the longest time one \
waited, both bounded; `predicted` how many interrupts came where the trace of an undisturbed round says. docs/sweep.md tells more.

The exit code is 1 when something failed.

Examples:
  cargo xtask sweep                      everything, a few minutes
  cargo xtask sweep null preempt         two scenarios
  cargo xtask sweep fork --every 97      every 97th instruction
  cargo xtask sweep --gic 2 --cpu max    on another machine
  cargo xtask sweep null --json          for tools")]
    Sweep(sweep::Args),
    /// Run programs of random calls and instructions on a kernel that audits itself, and make what fails small
    #[command(after_help = "\
Machines take turns: four CPUs, both interrupt controllers, 64 to 256 MiB; the same seed does the same. What was reached is \
printed; with a failure, the exit code is 1, and the fewest steps that fail the same way are in a file for --replay. \
docs/fuzz.md tells more.

Examples:
  cargo xtask fuzz
  cargo xtask fuzz --seconds 3600 --seed 7
  cargo xtask fuzz --replay fuzz-7-12345.txt")]
    Fuzz(fuzz::Args),
    /// Check format, clippy (host and target, no warnings) and documentation
    #[command(after_help = "\
Examples:
  cargo xtask check")]
    Check,
}

#[derive(Args)]
struct TestArgs {
    /// Only tests whose name holds this
    filter: Option<String>,
    /// Print the tests' names instead of running them
    #[arg(long)]
    list: bool,
}

#[derive(Args)]
struct MutantsArgs {
    /// Only mutants whose name holds this
    filter: Option<String>,
    /// Of these only every Nth, the first included
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    every: NonZeroUsize,
}

#[derive(Args)]
struct ExplainArgs {
    /// The syndrome, ESR_EL1; `-` for a log from standard input [default: -]
    #[arg(value_parser = Subject::parse, hide_default_value = true)]
    esr: Option<Subject>,
    /// The fault address, FAR_EL1
    #[arg(value_parser = explain::parse_hex)]
    far: Option<u64>,
    /// One sentence only
    #[arg(long)]
    brief: bool,
    /// Say it as JSON, one object for each report of a log
    #[arg(long, conflicts_with = "brief")]
    json: bool,
    /// Name the addresses in a log from this ELF file
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
    /// Say what a saved PSTATE (SPSR_EL1) means
    #[arg(long, value_name = "PSTATE", value_parser = explain::parse_hex,
        conflicts_with_all = ["esr", "brief", "json", "elf"])]
    pstate: Option<u64>,
}

/// What is to be explained.
#[derive(Clone, Copy)]
enum Subject {
    Log,
    Esr(u64),
}

impl Subject {
    fn parse(text: &str) -> Result<Subject, String> {
        if text == "-" { Ok(Subject::Log) } else { explain::parse_hex(text).map(Subject::Esr) }
    }
}

#[derive(Args)]
struct DoctorArgs {
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct QemuArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Print the QEMU command line instead of running it; everything it needs is built
    #[arg(long)]
    dry_run: bool,
    /// Write the machine's records to standard output, one JSON text a line, and its console to standard error
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
}

#[derive(Args)]
struct TraceArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Write NAME.html and NAME.json [default: the program's name, in the current folder]
    #[arg(short, long, value_name = "NAME")]
    output: Option<PathBuf>,
    /// Write the events to standard output in ftrace's layout, and the console to standard error; files only with -o
    #[arg(long)]
    text: bool,
    /// Memory for the events of a CPU, in MiB [default: 32, or a quarter of --mem]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    ring: Option<u32>,
}

#[derive(Args)]
struct HypArgs {
    /// A guest: FILE[,KEY=VALUE]..., as told below; may be repeated
    #[arg(long, value_name = "GUEST", value_parser = Guest::parse)]
    guest: Vec<Guest>,
    /// CPU model
    #[arg(long, value_enum, default_value_t = Cpu::CortexA72)]
    cpu: Cpu,
    /// Version of the interrupt controller
    #[arg(long, value_name = "VERSION", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: u8,
    /// CPUs in the machine; the guests' vCPUs run on all of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    smp: u8,
    /// Memory in MiB [default: what the guests need]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..))]
    mem: Option<u32>,
    /// Instruction-exact time: each instruction takes 2^SHIFT ns; one CPU only
    #[arg(long, value_name = "SHIFT", num_args = 0..=1, require_equals = true, default_missing_value = "0",
        value_parser = clap::value_parser!(u8).range(0..=10))]
    icount: Option<u8>,
    /// End the machine after this time [default: 60; none when a guest has this terminal]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Write what the guests did to standard output, as one JSON text, and the console to standard error
    #[arg(long)]
    json: bool,
    /// Write down every event of the hypervisor: NAME.html and NAME.json, or NAME.txt; with one CPU, time is by instructions
    /// (--icount=4) if nothing else is said
    #[arg(long, value_name = "NAME")]
    trace: Option<PathBuf>,
    /// Memory for the events of a CPU, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, requires = "trace",
        value_parser = clap::value_parser!(u32).range(2..=512))]
    ring: u32,
    /// More boot arguments of the hypervisor, in one word
    #[arg(long, value_name = "ARGS", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    append: String,
    /// QEMU to use [default: $QEMU, else qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    qemu: Option<OsString>,
    /// One more argument for QEMU; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    qemu_arg: Vec<OsString>,
}

#[derive(Args)]
struct MachineArgs {
    /// A program of the initramfs, by name, and its arguments [default: init, the demo suite]
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    words: Vec<String>,
    /// Run a static AArch64 ELF file of the host; every further word is its argument
    #[arg(long, value_name = "FILE")]
    exec: Option<PathBuf>,
    /// Boot the test image and run one in-kernel test
    #[arg(long, value_name = "NAME", conflicts_with_all = ["exec", "words"])]
    ktest: Option<String>,
    /// Give the machine's UART this terminal, with a shell unless a program is named; Ctrl-A X ends the machine
    #[arg(long, conflicts_with = "ktest")]
    interactive: bool,
    /// CPU model
    #[arg(long, value_enum, default_value_t = Cpu::CortexA72)]
    cpu: Cpu,
    /// Version of the interrupt controller
    #[arg(long, value_name = "VERSION", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: u8,
    /// CPUs in the machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    smp: u8,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(32..))]
    mem: u32,
    /// Instruction-exact time: each instruction takes 2^SHIFT ns; one CPU only
    #[arg(long, value_name = "SHIFT", num_args = 0..=1, require_equals = true, default_missing_value = "0",
        value_parser = clap::value_parser!(u8).range(0..=10))]
    icount: Option<u8>,
    /// How much the kernel logs [default: info]
    #[arg(long, value_enum, value_name = "LEVEL", hide_default_value = true)]
    log: Option<Level>,
    /// More boot arguments, in one word: `tick=1000`
    #[arg(long, value_name = "ARGS", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    append: String,
    /// Exception level the kernel is entered at; at 3 it only says that it will not go on
    #[arg(long, value_name = "LEVEL", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    entry_el: u8,
    /// End the machine after this time [default: 60; none for --interactive and gdb]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// QEMU to use [default: $QEMU, else qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    qemu: Option<OsString>,
    /// One more argument for QEMU; may be repeated: `--qemu-arg=-d --qemu-arg=int`
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    qemu_arg: Vec<OsString>,
}

/// A CPU model that the project is tried with.
#[derive(Clone, Copy, ValueEnum)]
#[expect(missing_docs, reason = "they are called as QEMU calls them")]
pub enum Cpu {
    CortexA53,
    CortexA57,
    CortexA72,
    CortexA76,
    Max,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The word that is typed for `value`.
pub fn typed(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
}

impl MachineArgs {
    fn config(self) -> Config {
        if self.icount.is_some() && self.smp > 1 {
            let message = "instruction-exact time (--icount) works with one CPU; leave out --smp";
            Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        if self.smp > 1 {
            eprintln!("xtask: the machine has {} CPUs; the kernel starts one for now", self.smp);
        }
        let timeout = self.timeout.or((!self.interactive).then_some(60)).map(Duration::from_secs);
        let mut args = self.words;
        let program = match self.exec {
            Some(path) => Program::Host(path),
            None if !args.is_empty() => Program::Named(args.remove(0)),
            None if self.interactive => Program::Named("sh".into()),
            None => Program::Init,
        };
        let defaults = Config::default();
        Config {
            qemu: self.qemu.unwrap_or(defaults.qemu),
            cpu: typed(self.cpu),
            gic: self.gic,
            smp: self.smp,
            mem: self.mem,
            entry_el: self.entry_el,
            icount: self.icount,
            log: self.log.map(typed),
            ktest: self.ktest,
            append: self.append,
            program,
            args,
            initramfs: None,
            input: if self.interactive { Input::Stdin } else { Input::Nothing },
            records: false,
            tracing: None,
            timeout,
            qemu_args: self.qemu_arg,
        }
    }
}

/// Does what the command line says; the exit code is the machine's or the tool's.
pub fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code.into(),
        // Who read the output has seen enough: as if SIGPIPE had ended this.
        Err(error) if error.chain().any(is_broken_pipe) => 141.into(),
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            1.into()
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(verb: Verb) -> Result<u8> {
    let root = workspace::root()?;
    match verb {
        Verb::Setup => {
            setup::ensure(&root, &Need::all(&root))?;
            doctor::doctor(&root, false)
        }
        Verb::Doctor(args) => doctor::doctor(&root, args.json),
        Verb::Qemu(args) => qemu(&root, args),
        Verb::Trace(args) => trace(&root, args),
        Verb::Gdb(args) => gdb(&root, args),
        Verb::Hyp(args) => hyp(&root, args),
        Verb::Test(args) => {
            setup::ensure(&root, &Need::tests(&root))?;
            test::test(&root, args.filter.as_deref(), args.list)
        }
        Verb::Bench(args) => bench::run(&root, args),
        Verb::Mutants(args) => {
            setup::ensure(&root, &Need::tests(&root))?;
            mutants::mutants(&root, args.filter.as_deref(), args.every.into())
        }
        Verb::Differ(args) => differ::run(&root, args),
        Verb::Sweep(args) => sweep::run(args),
        Verb::Fuzz(args) => fuzz::run(&root, args),
        Verb::Check => {
            setup::ensure(&root, &[Need::Target, Need::Clippy])?;
            check::check(&root).map(|()| 0)
        }
        Verb::Explain(args) => explain(&root, args).map(|()| 0),
    }
}

fn explain(root: &Path, args: ExplainArgs) -> Result<()> {
    let mut stdout = io::stdout();
    let mut write = |text: String| write_all(&mut stdout, text.as_bytes());
    if let Some(pstate) = args.pstate {
        return write(explain::pstate(pstate) + "\n");
    }
    let symbols = args.elf.map(|elf| Symbols::open(&elf, root)).transpose()?;
    let form = match (args.json, args.brief) {
        (true, _) => Form::Json,
        (_, true) => Form::Brief,
        _ => Form::Full,
    };
    let found = match args.esr {
        Some(Subject::Esr(esr)) if form == Form::Json => {
            let seen = Seen { esr: Some(esr), far: args.far, ..Seen::default() };
            vec![(1, Found::Seen(Box::new(seen)))]
        }
        Some(Subject::Esr(esr)) if form == Form::Brief => return write(explain::sentence(esr, args.far) + "\n"),
        Some(Subject::Esr(esr)) => return write(explain::syndrome(esr, args.far)),
        Some(Subject::Log) if args.far.is_some() => {
            let message = "a log is explained as it is: leave out FAR";
            Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        None if io::stdin().is_terminal() => {
            let message = "say what to explain: ESR and FAR, or a log at standard input (`-` to type or paste it here)";
            Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit();
        }
        Some(Subject::Log) | None => {
            let mut log = Vec::new();
            io::stdin().read_to_end(&mut log).context("standard input cannot be read")?;
            log::read(&String::from_utf8_lossy(&log))
        }
    };
    ensure!(
        !found.is_empty(),
        "there is no report in it: looked for ESR (as in `ESR_EL1: 0x96000045` or `esr 96000045`), for the first line of \
         an oops (`Unable to handle kernel ... at virtual address ...`) and for Ventry's reports and records"
    );
    report::explain(found, symbols.as_ref(), form, write)
}

fn gdb(root: &Path, args: MachineArgs) -> Result<u8> {
    let timeout = args.timeout.map(Duration::from_secs);
    let mut config = Config { timeout, ..args.config() };
    if config.input == Input::Stdin {
        // This terminal is gdb's.
        config.input = Input::Pty;
    }
    setup::ensure(root, &[Need::Target, Need::Gdb])?;
    setup::ensure_qemu(root, &config.qemu)?;
    let images = Images::build(config.ktest.is_some())?;
    gdb::debug(&images, config, |event| match event {
        Event::Console(text) => write_all(&mut io::stdout(), text),
        Event::Qemu(text) => write_all(&mut io::stderr(), text),
        Event::Started(_) | Event::Record(_) => Ok(()),
    })?;
    Ok(0)
}

fn qemu(root: &Path, args: QemuArgs) -> Result<u8> {
    let mut config = args.machine.config();
    config.records = args.json;
    setup::ensure(root, &[Need::Target])?;
    if !args.dry_run {
        setup::ensure_qemu(root, &config.qemu)?;
    }
    let images = Images::build(config.ktest.is_some())?;
    if args.dry_run {
        let command = machine::command(&images, &config)?;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| shell_quoted(&word.to_string_lossy())).collect();
        write_all(&mut io::stdout(), format!("{}\n", words.join(" ")).as_bytes())?;
        return Ok(0);
    }
    tell_whose_terminal(&config);
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    let (code, timed_out) = machine::watch(&images, &config, |event| match event {
        Event::Console(text) if args.json => write_all(&mut stderr, text),
        Event::Console(text) => write_all(&mut stdout, text),
        Event::Record(json) if args.json => write_all(&mut stdout, &[json, b"\n"].concat()),
        Event::Started(_) | Event::Record(_) => Ok(()),
        Event::Qemu(text) => write_all(&mut stderr, text),
    })?;
    if timed_out {
        eprintln!("xtask: {TIME_IS_OVER}");
    }
    Ok(code)
}

/// Says so when a person's terminal becomes the machine's.
fn tell_whose_terminal(config: &Config) {
    if config.input == Input::Stdin && io::stdin().is_terminal() {
        eprintln!("xtask: this terminal is the machine's now; Ctrl-A X ends the machine");
    }
}

fn hyp(root: &Path, args: HypArgs) -> Result<u8> {
    if args.icount.is_some() && args.smp > 1 {
        let message = "instruction-exact time (--icount) works with one CPU; leave out --smp";
        Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    if args.guest.len() > hyp::GUESTS_MAX {
        let message = format!("there can be {} guests at most", hyp::GUESTS_MAX);
        Cli::command().error(ErrorKind::TooManyValues, message).exit();
    }
    // Of its own guests the project knows that they read nothing.
    let input = if args.guest.is_empty() { Input::Nothing } else { Input::SharedStdin };
    let timeout = args.timeout.or((!process::terminal(&input)).then_some(60));
    // Where nothing that counts in real time is a guest, each run is the same.
    let suites = args.guest.is_empty() && args.smp == 1;
    let instruction_exact = suites || args.trace.is_some() && args.smp == 1;
    let mut config = hyp::Config {
        cpu: typed(args.cpu),
        gic: args.gic,
        smp: args.smp,
        mem: args.mem,
        icount: args.icount.or(instruction_exact.then_some(trace::SHIFT)),
        // Not what is traced, unless asked for: counting is in the figures.
        count: args.icount.is_some() || suites && args.trace.is_none(),
        trace: args.trace.is_some().then_some(args.ring),
        append: args.append,
        guests: args.guest,
        timeout: timeout.map(Duration::from_secs),
        input,
        qemu_args: args.qemu_arg,
        ..hyp::Config::default()
    };
    if let Some(qemu) = args.qemu {
        config.qemu = qemu;
    }
    config.guests.iter().try_for_each(Guest::check_files)?;
    // A text is refused where they are.
    let files = args.trace.as_deref().map(Files::new).transpose()?;
    setup::ensure(root, &[Need::Target])?;
    setup::ensure_qemu(root, &config.qemu)?;
    let (hypervisor, images) = (Hypervisor::build()?, Images::build(false)?);
    if config.guests.is_empty() {
        config.guests = ["left", "right"].map(|name| Guest::kernel(&images, name)).into();
    } else {
        let linux = Linux::new(root);
        if config.guests.iter().any(|guest| guest.image == Path::new(hyp::LINUX)) {
            setup::ensure(root, &[Need::Linux])?;
            linux.make_initramfs()?;
        }
        for (guest, number) in config.guests.iter_mut().zip(1..) {
            guest.name = format!("guest{number}");
            guest.find_files(&images, &linux);
        }
    }
    if process::terminal(&config.input) {
        eprintln!(
            "xtask: this terminal is the guests' now; Ctrl-A three times passes it on, Ctrl-] X ends the machine"
        );
    }
    if let Some(mem) = config.mem.filter(|&mem| mem < config.needed_mem()) {
        eprintln!("xtask: --mem {mem} may be too little; {} suffices for sure", config.needed_mem());
    }
    if args.trace.is_some() {
        process::let_interrupt_end_machines_only();
    }
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    let outcome = hyp::watch(&hypervisor, &images, &config, |event| match event {
        Event::Console(text) if args.json => write_all(&mut stderr, text),
        Event::Console(text) => write_all(&mut stdout, text),
        Event::Started(_) | Event::Record(_) => Ok(()),
        Event::Qemu(text) => write_all(&mut stderr, text),
    })?;
    match &outcome.result {
        Some(result) if args.json => {
            let json = hyp::json_of(result.clone(), config.icount);
            write_all(&mut stdout, format!("{json}\n").as_bytes())?;
        }
        Some(_) | None => {
            let words = outcome.summary().map(|summary| hyp::words_of(&summary, config.icount)).unwrap_or_default();
            write_all(&mut stderr, words.as_bytes())?;
        }
    }
    if let (Some(timeline), Some(name), Some(files)) = (&outcome.trace, &args.trace, files) {
        let mut names = hyp::names(&hypervisor, &images, &config);
        let mut describe = |token: console::Token<'_>| names.describe(None, token);
        if Files::is_text(name) {
            let text = trace::text::text(timeline, &[], &mut describe);
            std::fs::write(name, text).with_context(|| format!("{} cannot be written", name.display()))?;
        } else {
            let about = About {
                title: "hyp".into(),
                command: command_line(),
                exit: outcome.code,
                timed_out: outcome.timed_out,
                machine: format!("{}, GICv{}, {} CPU", config.cpu, config.gic, config.smp),
            };
            files.write(&about, &trace::model::Model::new(timeline, &[], &mut describe))?;
            tell_files(&files, timeline.events.len());
        }
        tell_lost(timeline.lost, args.ring);
    }
    if outcome.timed_out {
        eprintln!("xtask: the machine did not end in its time; give it more with --timeout SECONDS");
    }
    Ok(outcome.code)
}

const TIME_IS_OVER: &str = "the machine did not end in its time; give it more with --timeout SECONDS, or see where it is \
                            with `cargo xtask gdb` and the same options";

fn trace(root: &Path, mut args: TraceArgs) -> Result<u8> {
    args.machine.icount.get_or_insert(trace::SHIFT);
    let config = args.machine.config();
    let ring = args.ring.unwrap_or(trace::ring_for(config.mem));
    if let Some(why) = trace::refusal(&config, ring) {
        Cli::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    let title = title(&config);
    let name = args.output.or((!args.text).then(|| title.replace('/', "-").into()));
    let files = name.map(|name| Files::new(&name)).transpose()?;
    setup::ensure(root, &[Need::Target])?;
    setup::ensure_qemu(root, &config.qemu)?;
    let images = Images::build(config.ktest.is_some())?;
    tell_whose_terminal(&config);
    let ours =
        |word: &&String| ["-o", "--output", "--text", "--ring"].contains(&word.split('=').next().unwrap_or_default());
    if let Some(word) = config.args.iter().find(ours) {
        eprintln!(
            "xtask: `{word}` goes to the program, as all that stands behind its name; our options come before it"
        );
    }
    process::let_interrupt_end_machines_only();
    let mut recording = trace::record(&images, &config, ring, |event| match event {
        Event::Console(text) if !args.text => write_all(&mut io::stdout(), text),
        Event::Console(text) | Event::Qemu(text) => write_all(&mut io::stderr(), text),
        Event::Started(_) | Event::Record(_) => Ok(()),
    })?;
    if recording.timed_out {
        eprintln!("xtask: {TIME_IS_OVER}");
    }
    let (events, lost) = (recording.timeline.events.len(), recording.timeline.lost);
    if let Some(files) = files {
        let about = About {
            title,
            command: command_line(),
            exit: recording.code,
            timed_out: recording.timed_out,
            machine: format!("{}, GICv{}, {} MiB", config.cpu, config.gic, config.mem),
        };
        files.write(&about, &recording.model())?;
        tell_files(&files, events);
    }
    tell_lost(lost, ring);
    let skipped = recording.timeline.skipped;
    if skipped > 0 {
        eprintln!(
            "xtask: {skipped} events are not in it: hardly any of their stack was left, or tracing itself had failed"
        );
    }
    if args.text {
        write_all(&mut io::stdout(), recording.text().as_bytes())?;
    }
    match recording.error {
        _ if process::interrupted() => Ok(process::INTERRUPT_CODE),
        Some(error) => Err(error),
        None => Ok(recording.code),
    }
}

/// The command that was typed.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| shell_quoted(&word.to_string_lossy()));
    ["cargo".into(), "xtask".into()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

fn tell_files(files: &Files, events: usize) {
    eprintln!("xtask: {}: {events} events, for a browser", files.html.display());
    eprintln!("xtask: {}: the same for Perfetto", files.json.display());
}

fn tell_lost(lost: u64, ring: u32) {
    if lost > 0 {
        eprintln!("xtask: {lost} older events are lost; keep more with --ring MIB, which was {ring}");
    }
}

/// What runs, in a word that can be a file's name.
fn title(config: &Config) -> String {
    match (&config.ktest, &config.program) {
        (Some(test), _) => test.clone(),
        (None, Program::Init) => "trace".into(),
        (None, Program::Named(name)) => name.clone(),
        (None, Program::Host(path)) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Writes at once, also where QEMU has made the terminal they share non-blocking.
fn write_all(to: &mut impl Write, mut bytes: &[u8]) -> Result<()> {
    let wait = |result: io::Result<usize>| match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            thread::sleep(Duration::from_millis(1));
            Ok(0)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other.context("the console cannot be written"),
    };
    while !bytes.is_empty() {
        bytes = &bytes[wait(to.write(bytes))?..];
    }
    while let Err(error) = to.flush() {
        wait(Err(error))?;
    }
    Ok(())
}

/// A word as a shell takes it.
fn shell_quoted(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:,%@".contains(c)) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Config, ErrorKind> {
        let cli = Cli::try_parse_from(["xtask", "qemu"].iter().chain(line)).map_err(|error| error.kind())?;
        let Verb::Qemu(args) = cli.verb else { unreachable!("the verb is given") };
        Ok(args.machine.config())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_come_before_the_program() {
        let config = parse(&["--gic", "2", "--icount", "crash", "--mem", "null", "-x"]).unwrap();
        assert_eq!((config.gic, config.icount, config.mem), (2, Some(0), 256));
        assert_eq!(config.program, Program::Named("crash".into()));
        assert_eq!(config.args, ["--mem", "null", "-x"]);
        assert_eq!(parse(&["--icount=4"]).unwrap().icount, Some(4));
        assert_eq!(parse(&["--nonsense"]).unwrap_err(), ErrorKind::UnknownArgument);
        assert_eq!(parse(&["--gic", "4"]).unwrap_err(), ErrorKind::ValueValidation);
        assert_eq!(parse(&["--ktest", "overflow", "hello"]).unwrap_err(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn every_word_after_a_host_program_is_its_argument() {
        let config = parse(&["--exec", "a.out", "one", "-2", "--smp"]).unwrap();
        assert_eq!(config.program, Program::Host("a.out".into()));
        assert_eq!(config.args, ["one", "-2", "--smp"]);
        assert_eq!(parse(&["--exec", "a.out", "--", "-x"]).unwrap().args, ["-x"]);
    }

    #[test]
    fn only_a_person_has_no_time_limit() {
        assert_eq!(parse(&[]).unwrap().timeout, Some(Duration::from_secs(60)));
        let config = parse(&["--interactive"]).unwrap();
        assert_eq!((config.timeout, config.program), (None, Program::Named("sh".into())));
        assert_eq!(parse(&["--interactive", "--timeout", "5"]).unwrap().timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_trace_has_a_name() {
        let parse = |line: &[&str]| {
            let cli = Cli::try_parse_from(["xtask", "trace"].iter().chain(line)).map_err(|error| error.kind())?;
            let Verb::Trace(args) = cli.verb else { unreachable!("the verb is given") };
            Ok::<_, ErrorKind>(args)
        };
        let args = parse(&["-o", "t", "--ring", "4", "--text", "crash", "-o"]).unwrap();
        assert_eq!((args.output, args.ring, args.text), (Some("t".into()), Some(4), true));
        assert_eq!(args.machine.words, ["crash", "-o"]);
        assert_eq!(parse(&["--ring", "0"]).err(), Some(ErrorKind::ValueValidation));
        let title = |line: &[&str]| title(&parse(line).unwrap().machine.config());
        assert_eq!((&*title(&[]), &*title(&["crash", "null"])), ("trace", "crash"));
        assert_eq!((&*title(&["--ktest", "slot"]), &*title(&["--exec", "d/a.out"])), ("slot", "a.out"));
        assert_eq!([32, 64, 256, 4096].map(trace::ring_for), [8, 16, 32, 32]);
    }

    #[test]
    fn words_for_the_shell() {
        assert_eq!(shell_quoted("-M"), "-M");
        assert_eq!(shell_quoted(""), "''");
        assert_eq!(shell_quoted("it's a b"), r"'it'\''s a b'");
    }
}
