//! What a service leaves behind when its first process ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, kill_process};

use super::super::group::{end_of, leaderless};
use super::super::process::NAME;
use super::super::procfs::{pids, service_of, stat};
use super::*;

/// Has a child that no `SIGTERM` ends, and waits for signals beside it.
#[cfg(target_arch = "x86_64")]
fn has_a_child(tag: &str) -> Vec<u8> {
    // rt_sigaction(SIGTERM, at that distance from here, 0, 8)
    let on_term = |at: u8| {
        let mut code = b"\xb8\x0d\0\0\0\xbf\x0f\0\0\0\x48\x8d\x35".to_vec();
        code.extend_from_slice(&[at, 0, 0, 0]);
        code.extend_from_slice(b"\x31\xd2\x41\xba\x08\0\0\0\x0f\x05");
        code
    };
    let ignored = on_term(57);
    // fork; the child goes on at the end
    let fork = b"\xb8\x39\0\0\0\x0f\x05\x85\xc0\x74\x1b".to_vec();
    let default = on_term(27);
    let pause = b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7".to_vec();
    let mut actions = vec![1];
    actions.resize(40, 0);
    executable(&[ignored, fork, default, pause, actions].concat(), tag)
}

fn living(wanted: impl Fn(Pid) -> bool) -> Vec<Pid> {
    let lives = |pid: Pid| stat(pid).is_some_and(|stat| stat.lives);
    pids().filter(|pid| wanted(*pid) && lives(*pid)).collect()
}

fn of_web() -> Vec<Pid> {
    living(|pid| service_of(pid).as_deref() == Some("web"))
}

impl Agent {
    /// The first process of the service, another one than that, once it has its child.
    async fn first(&mut self, digest: Digest, but: Option<Pid>) -> Pid {
        self.until("the service", |told| runs(told, digest)).await;
        let begun = Instant::now();
        let is_in = |pid: Pid, group: Pid| stat(pid).is_some_and(|s| s.group == Some(group));
        loop {
            let all = of_web();
            let is_first = |pid: &&Pid| is_in(**pid, **pid) && Some(**pid) != but;
            if let Some(first) = all.iter().find(is_first)
                && all.len() > 1
            {
                let is_its = |pid: &Pid| is_in(*pid, *first);
                assert!(all.len() == 2 && all.iter().all(is_its), "{all:?}");
                return *first;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no child");
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn nothing_of_a_service_outlives_its_first_process() {
    let bench = Bench::new().await;
    let (one, two) = (has_a_child("1"), waits("2"));
    let (v1, v2) = (Digest::of(&one), Digest::of(&two));
    bench.holds(v1, &one);
    bench.holds(v2, &two);
    bench.offers("1", v1);
    let mut agent = bench.agent();
    let first = agent.first(v1, None).await;
    kill_process(first, Signal::KILL).unwrap();
    agent.first(v1, Some(first)).await;
    // The first process ends when asked to, and its child does not.
    bench.offers("2", v2);
    agent.until("v2", |told| runs(told, v2)).await;
    assert_eq!(of_web().len(), 1, "v2 alone");
    bench.says(&json!([]));
    agent.until("gone", <[ServiceReport]>::is_empty).await;
    assert_eq!(of_web(), []);
    agent.end().await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn what_is_left_of_a_service_ends_though_its_agent_was_restarted() {
    let bench = Bench::new().await;
    let bytes = has_a_child("1");
    let digest = Digest::of(&bytes);
    bench.holds(digest, &bytes);
    bench.offers("1", digest);
    let mut agent = bench.agent();
    agent.first(digest, None).await;
    agent.end().await;
    let mut agent = bench.agent();
    let first = agent.first(digest, None).await;
    kill_process(first, Signal::KILL).unwrap();
    let first = agent.first(digest, Some(first)).await;
    agent.end().await;
    // It ends while there is no agent.
    kill_process(first, Signal::KILL).unwrap();
    let mut agent = bench.agent();
    agent.first(digest, Some(first)).await;
    bench.says(&json!([]));
    agent.until("gone", <[ServiceReport]>::is_empty).await;
    assert_eq!(of_web(), []);
    agent.end().await;
}

/// A group of which the first process is gone and a `sleep` is there.
fn group(program: &[&str], service: &str) -> Pid {
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(["-c", "sleep 300 &"])
        .env(NAME, service)
        .stdout(Stdio::null());
    if program[0] == "sh" {
        command.process_group(0);
    }
    let mut first = command.spawn().unwrap();
    assert!(first.wait().unwrap().success());
    Pid::from_child(&first)
}

#[tokio::test]
async fn no_group_is_ended_that_is_not_the_services() {
    let _alone = ALONE.lock().await;
    let there = |group: Pid| living(|pid| stat(pid).is_some_and(|s| s.group == Some(group))).len();
    let (ours, others) = (group(&["sh"], "web"), group(&["sh"], "other"));
    let of_its_own = group(&["setsid", "sh"], "web");
    let left = leaderless();
    assert!(left.contains(&("web".to_owned(), ours)), "{left:?}");
    assert!(left.contains(&("other".to_owned(), others)), "{left:?}");
    assert!(!left.iter().any(|(_, group)| *group == of_its_own));

    assert_eq!(end_of("web", ours).await, 0);
    assert_eq!(end_of("web", others).await, 0);
    assert_eq!((there(ours), there(others)), (0, 1));
    assert_eq!(end_of("other", others).await, 0);
    assert_eq!(end_of("web", of_its_own).await, 0);
    assert_eq!((there(others), there(of_its_own)), (0, 0));
}
