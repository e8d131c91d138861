//! Harm: every few seconds a random subset, also none, of kill -9, a pause, cut connections, and faults of the proxy.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::history::{Function, Outcome};
use super::lies::Lie;
use super::proxy::{Fault, Proxy};
use super::target::Target;
use super::workload::Setting;
use crate::campaign::Random;

/// APIs whose requests and answers are harmed: Produce, Fetch, OffsetFetch, FindCoordinator, JoinGroup, SyncGroup,
/// InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit.
const APIS: [i16; 17] = [0, 0, 0, 1, 9, 10, 11, 14, 22, 22, 24, 24, 25, 26, 26, 26, 28];
/// APIs that may be sent twice: what a producer repeats.
const REPEATABLE: [i16; 6] = [0, 22, 24, 25, 26, 28];

/// What the nemesis did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Harm {
    /// kill -9.
    pub kills: u64,
    /// Restarts in order.
    pub restarts: u64,
    /// SIGSTOP.
    pub pauses: u64,
    /// All connections cut at once, or new ones refused.
    pub cuts: u64,
}

/// Which harm is done.
#[derive(Clone, Copy, Debug)]
pub struct Strength {
    /// Seconds between two rounds, at least and at most, in milliseconds.
    pub every: (u64, u64),
    /// Of 100 rounds so many have a kill.
    pub kill_percent: u64,
    /// In every round a request is changed on its way: the proof that the checker notices.
    pub lie: Option<Lie>,
    /// No other harm.
    pub calm: bool,
}

/// Harms until the time is up; leaves a broker that runs.
pub fn harm(
    setting: &Arc<Setting>,
    target: &mut Target,
    proxy: &Proxy,
    strength: Strength,
    mut random: Random,
    time: Duration,
) -> Result<Harm> {
    let began = std::time::Instant::now();
    let mut harm = Harm::default();
    let say = |text: String| {
        setting.recorder.note("nemesis", Function::Nemesis, Outcome::Ok, Vec::new(), text);
    };
    loop {
        let rest = random.between(Duration::from_millis(strength.every.0), Duration::from_millis(strength.every.1));
        let left = time.saturating_sub(began.elapsed());
        std::thread::sleep(rest.min(left));
        if began.elapsed() >= time {
            return Ok(harm);
        }
        if let Some(lie) = strength.lie {
            proxy.arm(lie.api(), random.below(4), Fault::Lie(lie));
            say(format!("lie: {lie:?}"));
        }
        if strength.calm {
            continue;
        }
        for _ in 0..random.below(5) {
            let (api, skip, fault) = fault(&mut random);
            proxy.arm(api, skip, fault);
            say(format!("API {api} after {skip}: {fault:?}"));
        }
        if random.percent(strength.kill_percent) {
            kill(target, &mut random, &mut harm, &say)?;
        }
        if random.percent(12) {
            let pause = random.between(Duration::from_millis(100), Duration::from_millis(2500));
            say(format!("SIGSTOP for {pause:?}"));
            target.signal("STOP")?;
            std::thread::sleep(pause);
            target.signal("CONT")?;
            harm.pauses += 1;
        }
        if random.percent(15) {
            say("all connections are cut".into());
            proxy.cut_all();
            harm.cuts += 1;
        }
        if random.percent(8) {
            let refusal = random.between(Duration::from_millis(50), Duration::from_millis(800));
            say(format!("connections are refused for {refusal:?}"));
            proxy.refuse(refusal);
            proxy.cut_all();
            harm.cuts += 1;
        }
    }
}

fn kill(target: &mut Target, random: &mut Random, harm: &mut Harm, say: &impl Fn(String)) -> Result<()> {
    if random.percent(10) {
        say("restart".into());
        target.restart()?;
        harm.restarts += 1;
    } else {
        say("kill -9".into());
        target.kill()?;
        // Clients see a broker that is away for a moment, or one that is back at once.
        std::thread::sleep(Duration::from_millis(random.below(400)));
        target.start_again()?;
        harm.kills += 1;
    }
    say("serves again".into());
    Ok(())
}

fn fault(random: &mut Random) -> (i16, u64, Fault) {
    let millis = |random: &mut Random, most| Duration::from_millis(1 + random.below(most));
    let fault = match random.below(12) {
        0..4 => Fault::DropAnswer,
        4 => Fault::CutAnswer(random.below(60) as usize),
        5 | 6 => Fault::CutRequest(random.below(120) as usize),
        7 => Fault::DelayAnswer(millis(random, 1500)),
        8 => Fault::DelayRequest(millis(random, 1500)),
        _ => Fault::Repeat,
    };
    let api = if fault == Fault::Repeat {
        REPEATABLE[random.below(REPEATABLE.len() as u64) as usize]
    } else {
        APIS[random.below(APIS.len() as u64) as usize]
    };
    (api, random.below(6), fault)
}
