//! The tasks that have not notified a wait for the first of several yet.

use crate::task::task_ref::TaskRef;

/// Numbered tasks, in an order that any step may change.
pub(crate) struct Pending {
    tasks: Vec<TaskRef>,
    /// The number of the task at each place.
    numbers: Vec<usize>,
    /// The place of the task with each number; it means nothing for a task that was removed.
    places: Vec<usize>,
}

impl Pending {
    /// Makes the set of these tasks, numbered in their order.
    pub(crate) fn new(tasks: Vec<TaskRef>) -> Self {
        let (numbers, places) = ((0..tasks.len()).collect(), (0..tasks.len()).collect());
        Self { tasks, numbers, places }
    }

    pub(crate) fn tasks(&self) -> &[TaskRef] {
        &self.tasks
    }

    /// Removes the task with this number: the last one takes its place.
    pub(crate) fn remove(&mut self, number: usize) {
        self.remove_at(self.places[number]);
    }

    /// Removes the task at this place: the last one takes its place.
    pub(crate) fn remove_at(&mut self, place: usize) {
        self.tasks.swap_remove(place);
        self.numbers.swap_remove(place);
        if let Some(&moved) = self.numbers.get(place) {
            self.places[moved] = place;
        }
    }

    /// Moves the task at this place to the front.
    pub(crate) fn move_to_front(&mut self, place: usize) {
        self.tasks.swap(0, place);
        self.numbers.swap(0, place);
        self.places[self.numbers[0]] = 0;
        self.places[self.numbers[place]] = place;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::deadlock::resource::Origin;
    use crate::task::error::TaskError;

    #[test]
    fn each_task_is_found_by_its_number_whatever_was_moved_or_removed() {
        let tasks: Vec<_> = (0..6).map(|_| TaskRef::failed::<u8>(TaskError::Cancelled, Origin::here(None))).collect();
        let keys: Vec<_> = tasks.iter().map(|task| task.key()).collect();
        let mut pending = Pending::new(tasks);
        let left = |pending: &Pending| {
            let mut left: Vec<_> =
                pending.tasks.iter().map(|task| keys.iter().position(|&key| key == task.key()).unwrap()).collect();
            assert_eq!(left, pending.numbers);
            assert!(left.iter().enumerate().all(|(place, &number)| pending.places[number] == place));
            left.sort_unstable();
            left
        };
        pending.move_to_front(4);
        assert_eq!(pending.tasks()[0].key(), keys[4]);
        pending.remove(0);
        assert_eq!(left(&pending), [1, 2, 3, 4, 5]);
        pending.remove_at(0);
        assert_eq!(left(&pending), [1, 2, 3, 5]);
        for (number, rest) in [(5, &[1, 2, 3][..]), (2, &[1, 3]), (3, &[1]), (1, &[])] {
            pending.move_to_front(pending.tasks().len() - 1);
            pending.remove(number);
            assert_eq!(left(&pending), rest);
        }
    }
}
