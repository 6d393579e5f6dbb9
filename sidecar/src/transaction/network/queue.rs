//! What is still to be sent to one node.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use etcd_transaction::Message;
use tokio::sync::Notify;

/// Most messages that wait for a node. Of more the oldest are dropped: any message may be lost.
const MOST: usize = 64;

/// Messages in order, with at most one `State` among them: only the newest counts.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Message>>,
    changed: Notify,
}

impl Queue {
    /// Adds a message. A `State` takes the place of an older one. Returns how many messages were dropped for it.
    pub(super) fn push(&self, message: Message) -> usize {
        let mut waiting = self.waiting();
        if is_state(&message)
            && let Some(older) = waiting.iter_mut().find(|older| is_state(older))
        {
            *older = message;
            return 0;
        }
        waiting.push_back(message);
        let excess = waiting.len().saturating_sub(MOST);
        waiting.drain(..excess);
        drop(waiting);
        self.changed.notify_one();
        excess
    }

    /// Puts back a message that could not be sent, unless there is no room any more, or a newer `State` waits.
    pub(super) fn put_back(&self, message: Message) {
        let mut waiting = self.waiting();
        if waiting.len() < MOST && !(is_state(&message) && waiting.iter().any(is_state)) {
            waiting.push_front(message);
        }
    }

    /// Waits until there is something to send.
    pub(super) async fn filled(&self) {
        while self.waiting().is_empty() {
            self.changed.notified().await;
        }
    }

    /// Takes the next message, and waits for one if there is none. Cancel safe.
    pub(super) async fn next(&self) -> Message {
        loop {
            if let Some(message) = self.waiting().pop_front() {
                return message;
            }
            self.changed.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_state(message: &Message) -> bool {
    matches!(message, Message::State(_))
}

#[cfg(test)]
mod tests {
    use etcd_transaction::{Millis, Node, NodeSet, State, Step, StepSet, Votes};

    use super::*;

    fn state(oldest: u64) -> Message {
        Message::State(State {
            votes: Votes::default(),
            begun: StepSet::default(),
            done: StepSet::default(),
            oldest: Millis(oldest),
            accepted: None,
            decision: None,
            ended: false,
            all_ended: false,
            unheard: NodeSet::of(Node(1)),
            unready: false,
            turns: false,
            restaged: None,
            stays: false,
        })
    }

    fn order(step: Step) -> Message {
        Message::Order { step }
    }

    fn all(queue: &Queue) -> Vec<Message> {
        queue.waiting().iter().cloned().collect()
    }

    #[test]
    fn a_newer_state_replaces_an_older_one_and_all_else_keeps_its_order() {
        let queue = Queue::default();
        let messages = [order(Step::Preflight), state(1), order(Step::StopApi), state(2), Message::AllEnded];
        assert!(messages.into_iter().all(|message| queue.push(message) == 0));
        assert_eq!(all(&queue), [order(Step::Preflight), state(2), order(Step::StopApi), Message::AllEnded]);
        queue.put_back(state(1));
        queue.put_back(order(Step::Swap));
        assert_eq!(all(&queue)[..2], [order(Step::Swap), order(Step::Preflight)]);
        assert_eq!(all(&queue).len(), 5);
    }

    #[test]
    fn the_oldest_is_dropped_when_there_are_too_many() {
        let queue = Queue::default();
        assert_eq!(queue.push(order(Step::Preflight)), 0);
        assert_eq!((1..MOST).map(|_| queue.push(Message::AllEnded)).sum::<usize>(), 0);
        assert_eq!(queue.push(order(Step::Swap)), 1);
        queue.put_back(order(Step::Preflight));
        let all = all(&queue);
        assert_eq!((all.len(), &all[0], all.last()), (MOST, &Message::AllEnded, Some(&order(Step::Swap))));
    }
}
