//! Threads that do what they are told, one step at a time.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bowline::thread;

use super::answer::Answer;
use super::script::{Outcome, Step, THREADS};
use super::world::{Actor, World};
use crate::support::this_os_id;

/// How long a wait with a time limit lasts.
const PATIENCE: Duration = Duration::from_millis(8);

/// A thread that does what it is told, and says when it is done.
pub(super) struct Obeyer {
    me: usize,
    orders: Receiver<Step>,
    done: Sender<(usize, Answer)>,
}

impl Obeyer {
    /// Spawns such a thread, which others can join. Returns where it takes orders, and its number with the system.
    pub(super) fn spawn(me: usize, world: &Arc<World>, done: &Sender<(usize, Answer)>) -> (Sender<Step>, u32) {
        let (order, orders) = mpsc::channel();
        let (tell_os_id, os_id) = mpsc::channel();
        let (theirs, obeyer) = (Arc::clone(world), Self { me, orders, done: done.clone() });
        let body = move || {
            tell_os_id.send(this_os_id()).expect("the spawner waits for it");
            obeyer.obey(&mut Actor::new(&theirs));
        };
        let handle = thread::Builder::new().name(THREADS[me].to_owned()).spawn(body).expect("a thread");
        world.put_handle(me, handle);
        (order, os_id.recv().expect("it begins"))
    }

    /// Obeys until an initialiser is to end, or the thread. (The end of all orders is the end of everything.)
    fn obey(&self, actor: &mut Actor<'_>) -> Outcome {
        while let Ok(step) = self.orders.recv() {
            let answer = match step {
                Step::EndInitialiser(outcome) => return outcome,
                Step::End => {
                    self.tell(Answer::Done);
                    break;
                }
                step => actor.perform(step, PATIENCE, &mut |actor| {
                    self.tell(Answer::Begun);
                    self.obey(actor)
                }),
            };
            self.tell(answer);
        }
        Outcome::Error
    }

    fn tell(&self, answer: Answer) {
        // Nobody listens any more if the test has failed.
        _ = self.done.send((self.me, answer));
    }
}
