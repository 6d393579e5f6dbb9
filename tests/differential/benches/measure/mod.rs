//! What a program takes on a file: seconds, and the most memory that was resident.

use std::path::Path;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs a program and prints its seconds and the most kibibytes that it had resident.
const MEASURE: &str = "\
import resource, subprocess, sys, time
start = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
";

/// What runs took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) mebibytes: f64,
}

/// The best of several runs; `before` each is not counted.
pub(crate) fn best(program: &Path, arguments: &[&str], before: impl Fn() -> Result<()>) -> Result<Run> {
    let mut best = Run { seconds: f64::MAX, mebibytes: 0.0 };
    for _ in 0..differential::setting("PEERS_ROUNDS", 3) {
        before()?;
        let output = Command::new("python3").args(["-c", MEASURE]).arg(program).args(arguments).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8(output.stdout)?;
        let (seconds, kibibytes) = text.trim().split_once(' ').ok_or("no figures")?;
        let run = Run { seconds: seconds.parse()?, mebibytes: kibibytes.parse::<f64>()? / 1024.0 };
        best = Run { seconds: best.seconds.min(run.seconds), mebibytes: best.mebibytes.max(run.mebibytes) };
    }
    Ok(best)
}
