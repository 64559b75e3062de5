//! The date that a template sees.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime::{BrokenDownTime, Config};

/// Where `strftime_now` takes the date from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clock {
    /// The computer's clock, in its own time zone.
    #[default]
    System,
    /// Midnight of this day, always.
    Day(Day),
    /// There is no clock, and no `strftime_now`: templates then write what
    /// their makers provided for that.
    Absent,
}

/// A day of the calendar: `2024-07-26`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(Date);

/// Why a text is not a day.
#[derive(Debug, thiserror::Error)]
#[error("a day is written YYYY-MM-DD, as in 2024-07-26")]
pub struct DayError;

impl Day {
    /// Today, by the computer's clock.
    pub fn today() -> Self {
        Self(jiff::Zoned::now().date())
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let date = Date::strptime("%Y-%m-%d", text).map_err(|_| DayError)?;
        Ok(Self(date))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Clock {
    /// The time now, if there is a clock.
    fn now(self) -> Option<DateTime> {
        match self {
            Self::System => Some(jiff::Zoned::now().datetime()),
            Self::Day(Day(date)) => Some(date.at(0, 0, 0, 0)),
            Self::Absent => None,
        }
    }

    /// The time now in Python's notation for dates; what it does not know
    /// stays as it is.
    pub(super) fn strftime(self, format: &str) -> Option<String> {
        let now = self.now()?;
        // Python's `datetime.now()` has no time zone to tell.
        let format = format.replace("%z", "").replace("%Z", "");
        let config = Config::new().lenient(true);
        let text = BrokenDownTime::from(now).to_string_with_config(&config, &format);
        Some(text.unwrap_or(format))
    }
}
