"""gdb commands for Ventry; `cargo xtask gdb` loads them, and `apropos ventry-` lists them.

Offsets come from the debug information of the kernel, words from `cargo xtask explain`: nothing is written twice.
"""

import os
import re
import struct
import subprocess

import gdb

gdb.execute("set confirm off")


def register(name):
    if not gdb.selected_thread():
        raise gdb.GdbError("the machine has ended")
    return int(gdb.parse_and_eval("$" + name)) & (1 << 64) - 1


def read_words(address, count):
    data = gdb.selected_inferior().read_memory(address, 8 * count).tobytes()
    return struct.unpack("<%dQ" % count, data)


def in_words(*arguments):
    """What `cargo xtask explain` says, or nothing where this was not started by it."""
    tool = os.environ.get("VENTRY_XTASK")
    if not tool:
        return ""
    words = subprocess.run([tool, "explain", *arguments], capture_output=True, text=True)
    return words.stdout.strip()


def place(address):
    """A code address as `function+offset (file:line)`, as much of it as is known."""
    symbol = gdb.execute("info symbol %#x" % address, to_string=True).strip()
    if symbol.startswith("No symbol"):
        return ""
    text = re.sub("::h[0-9a-f]{16}", "", symbol.split(" in section ")[0].replace(" + ", "+"))
    line = gdb.find_pc_line(address)
    return "%s (%s:%d)" % (text, line.symtab.filename, line.line) if line.symtab else text


class Frame:
    """A trap::frame::PtRegs in memory."""

    def __init__(self, address):
        self.address = address
        self.value = gdb.Value(address).cast(gdb.lookup_type("trap::frame::PtRegs").pointer()).dereference()

    @staticmethod
    def of_record(record):
        """The frame whose frame record lies at `record`, if one does.

        Exception entry copies the interrupted fp and PC into the record, or zeroes when it came from EL0; no other record
        lies behind such copies.
        """
        field = next(f for f in gdb.lookup_type("trap::frame::PtRegs").fields() if f.name == "stackframe")
        frame = Frame(record - field.bitpos // 8)
        if frame.from_el0():
            good = read_words(record, 2) == (0, 0) and frame.word("pc") != 0
        else:
            good = read_words(record, 2) == (frame.general(29), frame.word("pc"))
        return frame if good else None

    def word(self, name):
        return int(self.value[name]) & (1 << 64) - 1

    def general(self, number):
        return int(self.value["regs"][number]) & (1 << 64) - 1

    def from_el0(self):
        return self.word("pstate") & 0xC == 0

    def print(self):
        print("frame at %#018x" % self.address)
        print("  pc      %016x  %s" % (self.word("pc"), place(self.word("pc"))))
        print("  pstate  %016x  %s" % (self.word("pstate"), in_words("--pstate", hex(self.word("pstate")))))
        print("  sp      %016x" % self.word("sp"))
        number = int(self.value["syscallno"])
        if number != -1:
            print("  syscall %d, x0 was %#x" % (number, self.word("orig_x0")))
        for first in range(0, 31, 3):
            names = range(first, min(first + 3, 31))
            print("  " + "  ".join("%-4s %016x" % ("lr" if n == 30 else "x%d" % n, self.general(n)) for n in names))


def walk():
    """The chain of frame records from here, innermost first.

    Each step is a code address and, where an exception was taken there, its frame and the name of the entry it came by.
    """
    inner = register("pc")
    yield inner, None, None
    record, seen = register("x29"), set()
    while record and record % 8 == 0 and record not in seen and len(seen) < 256:
        seen.add(record)
        try:
            frame = Frame.of_record(record)
            following, address = read_words(record, 2)
        except gdb.MemoryError:
            print("     the record at %#x cannot be read" % record)
            return
        if frame:
            entry = place(inner).split("+")[0] or "exception"
            inner = frame.word("pc")
            yield inner, frame, entry
            if frame.from_el0():
                return
        elif address:
            # A return address lies behind its call.
            inner = address - 4
            yield inner, None, None
        record = following


class FrameCommand(gdb.Command):
    """ventry-frame [ADDRESS]: an exception's saved registers, in words.

Without ADDRESS, those of the innermost exception that the CPU is in."""

    def __init__(self):
        super().__init__("ventry-frame", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        if argument:
            try:
                Frame(int(gdb.parse_and_eval(argument)) & (1 << 64) - 1).print()
            except gdb.error as why:
                raise gdb.GdbError("no frame at %s: %s" % (argument, why))
            return
        frame, entry = next(((frame, entry) for _, frame, entry in walk() if frame), (None, None))
        if not frame:
            raise gdb.GdbError("the CPU is in no exception that has saved its registers: x29 leads to no frame")
        frame.print()
        # An interrupt leaves the syndrome of the exception before it.
        if not entry.endswith(("_irq", "_fiq")):
            esr, far = register("ESR_EL1"), register("FAR_EL1")
            print("  ESR_EL1 %016x  %s" % (esr, in_words("--brief", hex(esr), hex(far))))


class ChainCommand(gdb.Command):
    """ventry-chain: the functions the CPU is in, through all exceptions, innermost first."""

    def __init__(self):
        super().__init__("ventry-chain", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        for number, (address, frame, entry) in enumerate(walk()):
            if frame:
                pstate = in_words("--pstate", hex(frame.word("pstate")))
                print("---- %s, frame at %#x, interrupted %s" % (entry, frame.address, pstate))
            print("#%-3d %016x  %s" % (number, address, place(address)))


class SlotCommand(gdb.Command):
    """ventry-slot: the vector slot that the PC is in."""

    def __init__(self):
        super().__init__("ventry-slot", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        pc, table = register("pc"), register("VBAR")
        offset = pc - table
        if not 0 <= offset < 16 * 128:
            print("the PC %#x is in no slot: the table is at %#x" % (pc, table))
            return
        slot = gdb.execute("info symbol %#x" % (table + offset // 128 * 128), to_string=True).split(" in section ")[0]
        print("slot %d (%s), %d bytes into it" % (offset // 128, slot.strip(), offset % 128))


FrameCommand()
ChainCommand()
SlotCommand()
