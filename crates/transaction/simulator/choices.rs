//! Everything that is left to chance. A choice is addressed by what it is about, and not by its place in a stream: so a run can be told as its
//! seed and the few choices that were special, and these can be taken away one by one.

use std::collections::BTreeMap;

/// What a choice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A message is 1 lost, 2 doubled, 3 late, 4 very late.
    Message,
    /// Before an effect is carried out, 1 the process is killed, 2 the node loses power.
    Kill,
    /// A write of the journal 1 fails and leaves nothing, 2 fails and leaves its bytes, 3 hangs, 4 hangs for long.
    Write,
    /// An operation of a step 1 fails, 2 hangs, 3 hangs for long, 4 fails and is done.
    Operation,
    /// A kubelet is 1 slow, 2 very slow.
    Kubelet,
    /// Once in a while, a node 1 loses power for a short time, 2 for long, 3 for ever, 4 and its identity.
    Power,
    /// All nodes lose power.
    PowerAll,
    /// A process is 1 paused, 2 paused for long, 3 killed.
    Pause,
    /// A manifest that is held is there again: 1 API server, 2 etcd, 3 both, 4 other bytes.
    Manifest,
    /// Connections are cut: 1 one way, 2 between two nodes, 3 one node, 4 halves.
    Cut,
    /// An operator types 1 `--resume`, 2 `--without`, 3 `--forget`, 4 dismisses.
    Operator,
    /// Somebody with an identity of the plan sends what only another one may send.
    Stranger,
    /// Soon after a vote yes, or after a value is accepted, the coordinator 1 has no power, 2 is gone for good, 3 is cut off, 4 is killed, 5 all
    /// lose power and identities, 6 a quorum is gone for good, 7 the coordinator does not hear another one.
    Vote,
    /// The return of a step is told twice.
    Again,
    /// The order to begin is 1 late, 2 never given.
    Begin,
}

/// How many kinds there are.
pub const KINDS: usize = Kind::Begin as usize + 1;

impl Kind {
    /// All, in order.
    pub const ALL: [Kind; KINDS] = [
        Kind::Message,
        Kind::Kill,
        Kind::Write,
        Kind::Operation,
        Kind::Kubelet,
        Kind::Power,
        Kind::PowerAll,
        Kind::Pause,
        Kind::Manifest,
        Kind::Cut,
        Kind::Operator,
        Kind::Stranger,
        Kind::Vote,
        Kind::Again,
        Kind::Begin,
    ];

    /// How many special values there are, and how much seldomer it is special than its class's rate says.
    fn shape(self) -> (u32, u32) {
        match self {
            Kind::Message | Kind::Operation | Kind::Write => (4, 1),
            Kind::Kill => (2, 4),
            Kind::Kubelet => (2, 1),
            Kind::Power => (4, 2),
            Kind::PowerAll => (2, 4),
            Kind::Pause => (3, 1),
            Kind::Manifest | Kind::Cut => (4, 1),
            Kind::Operator => (4, 2),
            Kind::Stranger => (1, 1),
            Kind::Vote => (7, 1),
            Kind::Again => (1, 1),
            Kind::Begin => (2, 1),
        }
    }
}

/// What a time or a value is for that is drawn in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Draw {
    /// The setting of a seed.
    Setting = 64,
    /// How long a message takes.
    Message,
    /// How long a write takes.
    Write,
    /// How long an operation takes.
    Operation,
    /// When a kubelet notices.
    Kubelet,
    /// How long a fault lasts, and what it hits.
    Fault,
    /// When a process is started again.
    Start,
    /// What is kept of what was not synced.
    Kept,
    /// When an API server is ready, and what an old member has.
    Ready,
    /// Whether somebody writes through an API server that is not ready.
    Master,
}

const DRAWS: usize = Draw::Master as usize - Draw::Setting as usize + 1;

/// The address of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is about.
    pub kind: Kind,
    /// Whose it is.
    pub node: u8,
    /// Who else is concerned.
    pub peer: u8,
    /// Which one of these.
    pub ordinal: u32,
}

/// The finaliser of SplitMix64.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below a bound, from 64 random bits.
fn below(random: u64, bound: u64) -> u64 {
    ((random >> 32) * bound) >> 32
}

/// Where special choices come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Each kind has a rate per mille, by seed.
    Rates([u16; KINDS]),
    /// Just these.
    Script(BTreeMap<Key, u32>),
}

/// The choices of a run.
#[derive(Debug, Clone)]
pub struct Choices {
    seed: u64,
    source: Source,
    ordinals: [[u32; 64]; KINDS + DRAWS],
    /// The special choices that were made.
    pub taken: Vec<(Key, u32)>,
    /// Every choice that was asked for, with the number of its special values, if that is wanted.
    pub asked: Option<Vec<(Key, u32)>>,
    /// Nothing special happens any more.
    pub healed: bool,
}

impl Choices {
    /// The choices of a seed.
    pub fn new(seed: u64, source: Source) -> Choices {
        let ordinals = [[0; 64]; KINDS + DRAWS];
        Choices { seed: mix(seed), source, ordinals, taken: Vec::new(), asked: None, healed: false }
    }

    /// The rates of a seed: each kind is on with probability one half, and one seed in ten has none.
    pub fn rates(seed: u64) -> [u16; KINDS] {
        let random = |place: u64| mix(mix(seed ^ 0x5eed) ^ place);
        let mut rates = [0; KINDS];
        if below(random(0), 10) > 0 {
            for (place, rate) in rates.iter_mut().enumerate() {
                let random = random(place as u64 + 1);
                *rate = if random & 1 == 0 { 0 } else { [1, 5, 20, 100][(random >> 1 & 3) as usize] };
            }
        }
        rates
    }

    fn next(&mut self, kind: usize, node: usize, peer: usize) -> (u32, u64) {
        let ordinal = &mut self.ordinals[kind][node << 3 | peer];
        *ordinal += 1;
        let address = (kind as u64) << 48 | (node as u64) << 40 | (peer as u64) << 32 | u64::from(*ordinal);
        (*ordinal, mix(self.seed ^ mix(address)))
    }

    /// A choice between nothing special, 0, and the special values of its kind.
    pub fn pick(&mut self, kind: Kind, node: usize, peer: usize) -> u32 {
        self.pick_more(kind, node, peer, 1)
    }

    /// A choice that is special more often.
    pub fn pick_more(&mut self, kind: Kind, node: usize, peer: usize, times: u32) -> u32 {
        if self.healed {
            return 0;
        }
        let (values, seldomer) = kind.shape();
        let (ordinal, random) = self.next(kind as usize, node, peer);
        let key = || Key { kind, node: node as u8, peer: peer as u8, ordinal };
        if let Some(asked) = &mut self.asked {
            asked.push((key(), values));
        }
        let value = match &self.source {
            Source::Rates(rates) => {
                let rate = u64::from(rates[kind as usize]) * u64::from(times);
                if below(random, 1000 * u64::from(seldomer)) < rate {
                    below(mix(random), u64::from(values)) as u32 + 1
                } else {
                    0
                }
            }
            Source::Script(script) => script.get(&key()).copied().unwrap_or(0),
        };
        if value > 0 {
            self.taken.push((key(), value));
        }
        value
    }

    /// A number between two, both included, that differs in every run.
    pub fn draw(&mut self, draw: Draw, node: usize, from: u64, to: u64) -> u64 {
        let kind = draw as usize - Draw::Setting as usize + KINDS;
        let (_, random) = self.next(kind, node, 0);
        from + below(random, to - from + 1)
    }

    /// One of several numbers.
    pub fn one_of(&mut self, draw: Draw, node: usize, of: &[u64]) -> u64 {
        of[self.draw(draw, node, 0, of.len() as u64 - 1) as usize]
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_generator_is_split_mix() {
        // The first numbers of SplitMix64 from the state 0 and from its next one.
        assert_eq!(super::mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(super::mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }
}
