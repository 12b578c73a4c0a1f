//! A disk that may lose power: what was synced stays, of the rest some of it does, in any order, torn.
//!
//! As strict as POSIX: a file's name is on disk only after a sync of its folder, its bytes and size only after a sync
//! of the file. What is overwritten in place is torn at 512 bytes.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::shim::{Kind, Record, Trace};

/// The device's sector: written whole or not at all.
const SECTOR: usize = 512;

/// What a crash left: files by the end of their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A change that no sync has covered yet.
#[derive(Debug, Clone)]
struct Pending {
    /// Which record it was.
    number: usize,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, record: usize },
    Size(usize),
    AtLeast(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    Create(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Pending>,
}

/// The disk while a trace is played: what is on it for sure, and what is not.
pub struct Disk<'a> {
    trace: &'a Trace,
    files: Vec<File>,
    /// Names as the process sees them.
    seen: BTreeMap<String, usize>,
    /// Names that are on disk for sure.
    synced: BTreeMap<String, usize>,
    naming: Vec<(usize, Naming)>,
    /// Syncs that have begun: what they cover.
    syncs: BTreeMap<u64, usize>,
}

/// How much of what was not synced survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    None,
    All,
    First,
    Some,
}

fn luck(dice: &mut Dice) -> Luck {
    match dice.below(20) {
        0..5 => Luck::None,
        5..7 => Luck::All,
        7..12 => Luck::First,
        _ => Luck::Some,
    }
}

/// Which of so many changes survive.
fn survivors(dice: &mut Dice, count: usize) -> Vec<bool> {
    match luck(dice) {
        Luck::None => vec![false; count],
        Luck::All => vec![true; count],
        Luck::First => {
            let first = dice.below(count + 1);
            (0..count).map(|at| at < first).collect()
        }
        Luck::Some => (0..count).map(|_| dice.below(2) == 0).collect(),
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl<'a> Disk<'a> {
    /// An empty one.
    pub fn new(trace: &'a Trace) -> Disk<'a> {
        Disk {
            trace,
            files: Vec::new(),
            seen: BTreeMap::new(),
            synced: BTreeMap::new(),
            naming: Vec::new(),
            syncs: BTreeMap::new(),
        }
    }

    /// The record of that number happens.
    pub fn play(&mut self, number: usize) {
        let record = &self.trace.records[number];
        // The log's index is rebuilt from the log; SQLite never relies on what is in it after a crash.
        if record.name == "-shm" {
            return;
        }
        let size = record.offset as usize;
        match record.kind {
            Kind::Create => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.seen.insert(record.name.clone(), file);
                let named = Naming::Create(record.name.clone(), file);
                self.naming.push((number, named));
            }
            Kind::Unlink => {
                self.seen.remove(&record.name);
                let named = Naming::Unlink(record.name.clone());
                self.naming.push((number, named));
            }
            Kind::Rename => self.rename(number, record),
            Kind::Write => {
                let offset = size;
                let record = number;
                self.change(number, Change::Write { offset, record });
            }
            Kind::Truncate => self.change(number, Change::Size(size)),
            Kind::Allocate => self.change(number, Change::AtLeast(size)),
            Kind::SyncBegins => {
                self.syncs.insert(record.offset, number);
            }
            Kind::SyncEnds => {
                let begun = self.syncs.remove(&record.offset);
                self.sync(&record.name, begun.expect("a sync begins before it ends"));
            }
            Kind::Thread => {}
        }
    }

    fn rename(&mut self, number: usize, record: &Record) {
        let to = String::from_utf8_lossy(self.trace.data(record)).into_owned();
        if let Some(file) = self.seen.remove(&record.name) {
            self.seen.insert(to.clone(), file);
            let named = Naming::Rename(record.name.clone(), to, file);
            self.naming.push((number, named));
        }
    }

    fn change(&mut self, number: usize, change: Change) {
        // A file that has lost its name can no longer be read after a crash.
        if let Some(&file) = self.seen.get(&self.trace.records[number].name) {
            self.files[file].pending.push(Pending { number, change });
        }
    }

    fn sync(&mut self, name: &str, begun: usize) {
        if name == "." {
            let (covered, left) = std::mem::take(&mut self.naming)
                .into_iter()
                .partition(|(number, _)| *number < begun);
            self.naming = left;
            for (_, naming) in Vec::from_iter::<Vec<_>>(covered) {
                rename_in(&mut self.synced, &naming);
            }
            return;
        }
        let Some(&file) = self.seen.get(name) else {
            return;
        };
        let file = &mut self.files[file];
        let (covered, left) = std::mem::take(&mut file.pending)
            .into_iter()
            .partition(|pending| pending.number < begun);
        file.pending = left;
        for pending in Vec::from_iter::<Vec<Pending>>(covered) {
            apply(self.trace, &mut file.synced, &pending.change, None);
        }
    }

    /// What one crash at this moment could leave.
    pub fn crash(&self, dice: &mut Dice) -> Files {
        let mut names = self.synced.clone();
        let kept = survivors(dice, self.naming.len());
        for ((_, naming), _) in self.naming.iter().zip(kept).filter(|(_, kept)| *kept) {
            rename_in(&mut names, naming);
        }
        let mut files = Files::new();
        for (name, file) in names {
            let file = &self.files[file];
            let mut bytes = file.synced.clone();
            let kept = survivors(dice, file.pending.len());
            for (pending, _) in file.pending.iter().zip(kept).filter(|(_, kept)| *kept) {
                let torn = dice.below(10) < 3;
                apply(
                    self.trace,
                    &mut bytes,
                    &pending.change,
                    torn.then_some(&mut *dice),
                );
            }
            files.insert(name, bytes);
        }
        files
    }
}

fn rename_in(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Create(name, file) => drop(names.insert(name.clone(), *file)),
        Naming::Unlink(name) => drop(names.remove(name)),
        Naming::Rename(from, to, file) => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
    }
}

fn apply(trace: &Trace, bytes: &mut Vec<u8>, change: &Change, torn: Option<&mut Dice>) {
    match (change, torn) {
        (Change::Write { offset, record }, None) => {
            put(bytes, *offset, trace.data(&trace.records[*record]));
        }
        (Change::Write { offset, record }, Some(dice)) => {
            let data = trace.data(&trace.records[*record]);
            let mut from = 0;
            while from < data.len() {
                // Sectors lie where the device has them, not where the write began.
                let left = SECTOR - (offset + from) % SECTOR;
                let to = (from + left).min(data.len());
                if dice.below(2) == 0 {
                    put(bytes, offset + from, &data[from..to]);
                }
                from = to;
            }
        }
        (Change::Size(size), _) => bytes.resize(*size, 0),
        (Change::AtLeast(size), _) => {
            if bytes.len() < *size {
                bytes.resize(*size, 0);
            }
        }
    }
}
