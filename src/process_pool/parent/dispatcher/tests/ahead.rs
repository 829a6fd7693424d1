//! How many tasks a worker may have, by what goes with them.

use std::sync::Arc;
use std::time::Duration;

use crate::deadlock::resource::Origin;
use crate::process_pool::parent::dispatcher::state::State;
use crate::process_pool::parent::home::{Sender, new_task};
use crate::process_pool::parent::job::{Job, JobTerms};
use crate::process_pool::parent::lifespan::Lifespan;
use crate::process_pool::parent::model::ModelLink;
use crate::process_pool::wire::blob::Blob;
use crate::process_pool::wire::call::{Call, complete};
use crate::process_pool::wire::usual::Usual;
use crate::task::header::Header;

struct Nobody;

impl Sender for Nobody {
    fn claim_to_cancel(&self, _: &Header) -> bool {
        false
    }

    fn terminate(self: &Arc<Self>, _: &Header, _: Duration) -> bool {
        false
    }

    fn has_short_tasks(&self) -> bool {
        false
    }
}

fn job_with(blobs: usize) -> Job {
    fn count(blobs: Vec<Blob>) -> u32 {
        blobs.len() as u32
    }
    let blobs = (0..blobs).map(|_| Blob::from_bytes(b"some").expect("memory")).collect();
    let (mine, _) = new_task::<fn(Vec<Blob>) -> u32, u32>(Arc::new(Nobody), Origin::here(None), None);
    let call = Call::of(count, (blobs,), 1 << 10).expect("blobs can be sent");
    // SAFETY:
    // - the cell was made for this type of result.
    unsafe { Job::new(mine, call, complete::<u32>, JobTerms::default(), None) }
}

#[test]
#[cfg_attr(miri, ignore = "there is no sealed memory")]
fn many_tasks_are_sent_ahead_two_with_some_blobs_and_none_with_many() {
    let usual = Arc::new(Usual::unknown());
    let mut state = State::<ModelLink>::new(1, Lifespan::default(), Arc::clone(&usual));
    for _ in 0..20 {
        usual.note(Duration::from_micros(1));
        state.was_quick.note(Duration::from_micros(1));
    }
    for (blobs, depth) in [(0, 16), (1, 2), (4, 2), (5, 1), (200, 1)] {
        state.queue.clear();
        state.queue.push_back(job_with(blobs));
        assert_eq!(state.depth(), depth, "{blobs} blobs");
    }
}
