//! Spans and events of `tracing` on their way from a worker to the subscriber of its parent.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};

/// Text: of the program where it is written, on the heap where it is read.
pub(in crate::process_pool) type Text = Cow<'static, str>;

/// The place of a span or an event in the program.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::process_pool) struct Source {
    pub(in crate::process_pool) is_span: bool,
    pub(in crate::process_pool) name: Text,
    pub(in crate::process_pool) target: Text,
    pub(in crate::process_pool) level: u8,
    pub(in crate::process_pool) module: Option<Text>,
    pub(in crate::process_pool) file: Option<Text>,
    pub(in crate::process_pool) line: Option<u32>,
    /// The names of its fields.
    pub(in crate::process_pool) fields: Vec<Text>,
}

/// The value of a field.
#[derive(Serialize, Deserialize, Debug)]
pub(in crate::process_pool) enum Value {
    Float(f64),
    Signed(i64),
    Unsigned(u64),
    LongSigned(i128),
    LongUnsigned(u128),
    Bool(bool),
    Text(String),
    /// What `Debug`, or `Display`, has written.
    Written(String),
}

/// Values, each with the place of its field among those of the source.
pub(in crate::process_pool) type Values = Vec<(u16, Value)>;

/// What the subscriber of a worker hears.
#[derive(Serialize, Deserialize, Debug)]
pub(in crate::process_pool) enum Heard {
    Span {
        id: u64,
        parent: Option<u64>,
        source: Source,
        values: Values,
    },
    Values {
        id: u64,
        values: Values,
    },
    /// One span of the task follows from another.
    Follows {
        id: u64,
        from: u64,
    },
    Closed {
        id: u64,
    },
    Event {
        parent: Option<u64>,
        source: Source,
        values: Values,
    },
}

/// The levels by their numbers, from 1 on. 0 is none.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// Returns the number of the most verbose level that a subscriber of this process may want to hear of.
pub(in crate::process_pool) fn wanted() -> u32 {
    LevelFilter::current().into_level().map_or(0, |level| number(&level).into())
}

/// Returns the most verbose level with this number, or with a smaller one.
pub(in crate::process_pool) fn up_to(number: u32) -> LevelFilter {
    let levels = LEVELS.get(..number as usize).unwrap_or(&LEVELS);
    levels.last().map_or(LevelFilter::OFF, |&level| LevelFilter::from_level(level))
}

fn number(level: &Level) -> u8 {
    LEVELS.iter().zip(1..).find(|(other, _)| *other == level).map_or(0, |(_, number)| number)
}

impl Source {
    pub(in crate::process_pool) fn of(metadata: &'static Metadata<'static>) -> Self {
        Self {
            is_span: metadata.is_span(),
            name: metadata.name().into(),
            target: metadata.target().into(),
            level: number(metadata.level()),
            module: metadata.module_path().map(Text::from),
            file: metadata.file().map(Text::from),
            line: metadata.line(),
            fields: metadata.fields().iter().map(|field| field.name().into()).collect(),
        }
    }

    /// Returns the length of its texts.
    pub(in crate::process_pool) fn length(&self) -> usize {
        let texts = [&self.name, &self.target].into_iter().chain(&self.module).chain(&self.file).chain(&self.fields);
        texts.map(|text| text.len() + size_of::<Text>()).sum()
    }

    pub(in crate::process_pool) fn level(&self) -> Level {
        let place = usize::from(self.level).saturating_sub(1);
        LEVELS.get(place).copied().unwrap_or(Level::TRACE)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_level_survives_the_journey() {
        assert_eq!(up_to(0), LevelFilter::OFF);
        for level in LEVELS {
            assert_eq!(up_to(number(&level).into()), LevelFilter::from_level(level));
        }
        assert_eq!(up_to(77), LevelFilter::TRACE);
    }
}
