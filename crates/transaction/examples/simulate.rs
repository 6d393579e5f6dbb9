//! Simulates restores with faults: `simulate --help` tells how.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

#[path = "../simulator/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the tests")]
mod simulator;

use std::collections::BTreeMap;
use std::process::ExitCode;

use simulator::choices::Key;
use simulator::planted::Planted;
use simulator::world::Setting;
use simulator::{Report, run, run_seeds, shrink};

const HELP: &str = "\
Simulates restores in virtual time, with faults, and checks that the rules of the protocol hold.

  --seeds N         so many seeds (default 10000)
  --seed S          the first seed (default 0); alone, this seed only
  --nodes N         so many nodes, between 1 and 5 (default: the seed says)
  --trace           prints what happens
  --digests         prints a number for each seed that is the same wherever the same happens
  --planted NAME    breaks a rule on purpose (--planted list names them)
  --explore D       instead of seeds: all runs with at most D special choices
  --threads N       (default: as many as there are processors)

A line of a trace: virtual time, number of the event, node, input | phase | effects. Lines with ! are faults.
Ends with status 1 if a rule is broken.";

struct Options {
    seeds: Option<u64>,
    seed: Option<u64>,
    nodes: Option<usize>,
    trace: bool,
    digests: bool,
    planted: Option<Planted>,
    explore: Option<usize>,
    threads: usize,
}

fn options() -> Result<Option<Options>, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options {
        seeds: None,
        seed: None,
        nodes: None,
        trace: false,
        digests: false,
        planted: None,
        explore: None,
        threads,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{argument} {text}: {error}"));
        match argument.as_str() {
            "--seeds" => options.seeds = Some(number(value()?)?),
            "--seed" => options.seed = Some(number(value()?)?),
            "--nodes" => {
                let nodes = number(value()?)?;
                if !(1..=5).contains(&nodes) {
                    return Err("--nodes: between 1 and 5".into());
                }
                options.nodes = Some(nodes as usize);
            }
            "--trace" => options.trace = true,
            "--digests" => options.digests = true,
            "--explore" => options.explore = Some(number(value()?)? as usize),
            "--threads" => options.threads = number(value()?)?.max(1) as usize,
            "--planted" => {
                let name = value()?;
                let all = Planted::all();
                let names = || all.iter().map(|planted| planted.name()).collect::<Vec<_>>().join("\n");
                options.planted = Some(
                    all.iter()
                        .copied()
                        .find(|planted| planted.name() == name)
                        .ok_or_else(|| format!("one of\n{}", names()))?,
                );
            }
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("{other} is not understood; see --help")),
        }
    }
    Ok(Some(options))
}

fn script_text(script: &BTreeMap<Key, u32>) -> String {
    let line = |(key, value): (&Key, &u32)| {
        format!("  {:?} node {} peer {} no. {}: {value}\n", key.kind, key.node, key.peer, key.ordinal)
    };
    script.iter().map(line).collect()
}

fn tell(options: &Options, setting: &Setting, report: &Report) {
    let Some(failure) = &report.failure else { return };
    println!("seed {}: {:?} is broken at {} ms: {}", report.seed, failure.invariant, failure.at, failure.what);
    println!("digest {:016x}, {} events, {} special choices", report.digest, report.events, report.taken.len());
    let nodes = options.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
    let planted = options.planted.map(|planted| format!(" --planted {}", planted.name())).unwrap_or_default();
    println!(
        "cargo run --release -p etcd-transaction --example simulate -- --seed {} --trace{nodes}{planted}",
        report.seed
    );
    let (script, shrunk) = shrink::shrink(setting, report);
    let what = shrunk.failure.map(|failure| failure.what).unwrap_or_default();
    println!("the same breaks with {} special choices: {what}\n{}", script.len(), script_text(&script));
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let setting = |seed| Setting { planted: options.planted, ..Setting::seed(seed, options.nodes) };
    let first = options.seed.unwrap_or(0);
    let count = options.seeds.unwrap_or(if options.seed.is_some() { 1 } else { 10_000 });
    if options.trace {
        for seed in first..first + count {
            let report = run(&Setting { trace: true, ..setting(seed) });
            report.lines.iter().for_each(|line| println!("{line}"));
        }
    }
    let summary = match options.explore {
        Some(most) => {
            let nodes = options.nodes.unwrap_or(3);
            simulator::explore::explore(nodes, first, most, options.planted)
        }
        None => run_seeds(first..first + count, options.threads, setting, |report| {
            if options.digests {
                println!("{} {:016x} {}", report.seed, report.digest, report.events);
            }
        }),
    };
    for report in summary.failures.iter().take(3) {
        if options.explore.is_some() {
            let script = report.taken.iter().copied().collect();
            println!("{:?}\n{}", report.failure, script_text(&script));
        } else {
            tell(&options, &setting(report.seed), report);
        }
    }
    print!("{}", summary.marks.table(summary.runs));
    println!("digest of all: {:016x}", summary.digest);
    println!("{} seeds, {} events, {} failures", summary.runs, summary.events, summary.failures.len());
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
