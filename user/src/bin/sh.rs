//! A small shell: `NAME ARG...` runs /bin/NAME (or the path NAME), with quotes as in boot arguments.
//!
//! The kernel neither echoes nor edits: the terminal's bytes come raw.
#![no_std]
#![no_main]

use core::ffi::CStr;
use drivers::bootargs::{Word, words};
use user::{
    Args, Errno, Status, dirent,
    editor::{Editor, Event, LINE},
    eprintln,
    io::{STDIN, STDOUT, write_all},
    print, println, process, sys,
};

user::entry!(main);

const PROMPT: &str = "$ ";
/// Where programs are.
const FOLDER: &[u8] = b"/bin/";

/// What a line asks for.
enum Outcome {
    Next,
    Exit(i32),
}

fn main(_args: Args) -> i32 {
    println!("Programs run by name; `help` lists them, `exit` ends.");
    loop {
        let mut editor = Editor::default();
        print!("{PROMPT}");
        if !edit(&mut editor) {
            return 0;
        }
        if let Outcome::Exit(code) = obey(editor.line()) {
            return code;
        }
    }
}

/// Has a line typed, and shown as it is; false when there will be no more.
fn edit(editor: &mut Editor) -> bool {
    loop {
        let mut byte = [0];
        if !matches!(sys::read(STDIN, &mut byte), Ok(1)) {
            println!();
            return false;
        }
        match editor.push(byte[0]) {
            Event::Nothing => {}
            Event::Added(byte) => write_all(STDOUT, &[byte]),
            Event::Removed => print!("\x08 \x08"),
            Event::Entered => {
                println!();
                return true;
            }
            Event::Cleared => print!("^C\n{PROMPT}"),
            Event::Ended => {
                println!();
                return false;
            }
        }
    }
}

fn obey(line: &str) -> Outcome {
    let mut list = words(line);
    let Some(first) = list.next() else { return Outcome::Next };
    if first == *"exit" {
        let code = list.next().map_or(Some(0), number);
        match code {
            Some(code) => return Outcome::Exit(code),
            None => eprintln!("sh: exit takes a number from 0 to 255"),
        }
    } else if first == *"help" {
        help();
    } else {
        match run(line) {
            Ok(Status::Exited(0)) => {}
            Ok(status) => println!("{status}"),
            Err(errno) => eprintln!("sh: no process could be started: {errno}"),
        }
    }
    Outcome::Next
}

fn number(word: Word<'_>) -> Option<i32> {
    word.chars().try_fold(0, |number, c| Some(number * 10 + c.to_digit(10)? as i32).filter(|&number| number <= 255))
}

/// Runs the program that `line` names and waits for its end.
fn run(line: &str) -> Result<Status, Errno> {
    process::run(|| {
        // The words of the line, each ended by NUL, behind the folder of a program without one: path and name in one.
        let mut text = [0; FOLDER.len() + LINE + 1];
        text[..FOLDER.len()].copy_from_slice(FOLDER);
        let mut used = FOLDER.len();
        for word in words(line) {
            for c in word.chars() {
                // The editor takes ASCII only.
                text[used] = c as u8;
                used += 1;
            }
            used += 1;
        }
        let strings = text[FOLDER.len()..used].split_inclusive(|&byte| byte == 0);
        let Some(argv) = process::Argv::new(strings.flat_map(CStr::from_bytes_with_nul)) else {
            eprintln!("sh: at most {} words a line", process::ARGV_MAX - 1);
            return process::EXEC_FAILED;
        };
        let name = CStr::from_bytes_until_nul(&text[FOLDER.len()..]).unwrap_or_default();
        let with_folder = CStr::from_bytes_until_nul(&text).unwrap_or_default();
        let path = if name.to_bytes().contains(&b'/') { name } else { with_folder };
        eprintln!("sh: {path:?}: {}", argv.exec(path));
        process::EXEC_FAILED
    })
}

fn help() {
    println!("NAME [ARG...]  runs a program; says how it ended if not well");
    println!("exit [CODE]    ends the shell; so does Ctrl-D");
    println!("\"a b\" is one word, \\ takes the next character as it is, Ctrl-C forgets the line");
    print!("programs:");
    let listed = dirent::list(c"/bin", |entry| match entry.name.to_bytes() {
        b"." | b".." => {}
        _ => print!(" {}", entry.name.to_str().unwrap_or("?")),
    });
    println!();
    if let Err(errno) = listed {
        eprintln!("sh: /bin: {errno}");
    }
}
