//! When a job runs: five fields of cron, or a word that stands for them. Asks no clock; the moment
//! and the time zone are arguments.
//!
//! The grammar is that of Debian's cron (crontab(5), `entry.c`): names of months and weekdays in
//! three letters, lists, ranges, steps after `*` or a range; 7 is Sunday, too. A range that runs
//! backwards, which cron takes and never runs, is refused.
//! Where day and weekday are both restricted, a day that fits either is meant.

use crate::model::{Invalid, Moment};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use std::fmt;
use std::str::FromStr;

/// When a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

/// Words with the times that eve4pve-barc gives them.
const WORDS: [(&str, &str); 4] = [
    ("hourly", "0 * * * *"),
    ("daily", "0 0 * * *"),
    ("weekly", "0 0 * * 0"),
    ("monthly", "0 0 1 * *"),
];

const FORM: &str = "a schedule (hourly, daily, weekly, monthly, or five fields of cron: minute, \
                    hour, day, month, weekday, as '30 2 * * mon-fri')";

impl Schedule {
    /// The schedule that a label stands for: the word that it contains; daily otherwise.
    pub fn of_label(label: &str) -> Self {
        let word = WORDS.iter().find(|(word, _)| label.contains(word)).unwrap_or(&WORDS[1]);
        Self { text: word.0.to_owned(), cron: Cron::default_of(word.1) }
    }

    /// The five fields of a cron line.
    pub fn fields(&self) -> &str {
        word_fields(&self.text).unwrap_or(&self.text)
    }

    /// The next time after `now`; none when there is no such day, as the 30th of February.
    pub fn next_after(&self, now: Moment, zone: &TimeZone) -> Option<Moment> {
        let local = jiff::Timestamp::from_second(now.unix()).ok()?.to_zoned(zone.clone());
        let mut date = local.date();
        // Leap days that fall on a given weekday come within 28 years, over 2100 within 40.
        for _ in 0..366 * 40 {
            let found = self.cron.fits(date).then(|| self.cron.first_on(date, now, zone)).flatten();
            if found.is_some() {
                return found;
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The longest time between two of its runs in seconds; none when it never runs. A week is
    /// looked at, and twelve runs at least, so that nights and weekends without runs are known.
    pub fn longest_pause(&self, now: Moment, zone: &TimeZone) -> Option<i64> {
        const MORE_THAN_A_WEEK: i64 = 8 * 86_400;
        let first = self.next_after(now, zone)?;
        let (mut at, mut longest, mut runs) = (first, 0, 0);
        while runs < 12 || at.unix() - first.unix() < MORE_THAN_A_WEEK {
            let next = self.next_after(at, zone)?;
            longest = longest.max(next.unix() - at.unix());
            (at, runs) = (next, runs + 1);
        }
        Some(longest)
    }

    /// The time between the next run and the one after it in seconds; none when it never runs.
    pub fn next_pause(&self, now: Moment, zone: &TimeZone) -> Option<i64> {
        let next = self.next_after(now, zone)?;
        Some(self.next_after(next, zone)?.unix() - next.unix())
    }

    /// The schedule in words; the fields themselves where words would not be clearer.
    pub fn in_words(&self) -> String {
        self.cron.in_words().unwrap_or_else(|| format!("cron {}", self.fields()))
    }
}

fn word_fields(text: &str) -> Option<&'static str> {
    WORDS.iter().find(|(word, _)| *word == text).map(|(_, fields)| *fields)
}

impl FromStr for Schedule {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, FORM);
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ").to_ascii_lowercase();
        let word = match text.trim_start_matches('@') {
            "midnight" => "daily",
            word => word,
        };
        if let Some(fields) = word_fields(word) {
            return Ok(Self { text: word.to_owned(), cron: Cron::default_of(fields) });
        }
        let cron = Cron::parse(&text).ok_or_else(invalid)?;
        Ok(Self { text, cron })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One field: which numbers fit, and whether it begins with a star.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Field {
    bits: u64,
    star: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cron {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const DAY_NAMES: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Cron {
    /// The times of fields that are ours and known to be right.
    fn default_of(fields: &str) -> Self {
        Self::parse(fields).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(' ').collect();
        let [minute, hour, day, month, weekday] = fields[..] else { return None };
        let mut weekday = Field::parse(weekday, (0, 7), (&WEEKDAYS, 0))?;
        if weekday.has(7) {
            weekday.bits = weekday.bits & 0x7f | 1;
        }
        Some(Self {
            minute: Field::parse(minute, (0, 59), (&[], 0))?,
            hour: Field::parse(hour, (0, 23), (&[], 0))?,
            day: Field::parse(day, (1, 31), (&[], 0))?,
            month: Field::parse(month, (1, 12), (&MONTHS, 1))?,
            weekday,
        })
    }

    fn fits(&self, date: Date) -> bool {
        let number = |n: i8| u32::try_from(n).unwrap_or(0);
        let day = self.day.has(number(date.day()));
        let weekday = self.weekday.has(weekday_number(date.weekday()));
        let is_day = match self.day.star || self.weekday.star {
            true => day && weekday,
            false => day || weekday,
        };
        is_day && self.month.has(number(date.month()))
    }

    /// The first fitting moment of a day after `now`. What the clock skips in spring comes an hour
    /// later.
    fn first_on(&self, date: Date, now: Moment, zone: &TimeZone) -> Option<Moment> {
        let hours = (0..24).filter(|hour| self.hour.has(*hour));
        for hour in hours {
            for minute in (0..60).filter(|minute| self.minute.has(*minute)) {
                let (hour, minute) = (i8::try_from(hour).ok()?, i8::try_from(minute).ok()?);
                let zoned = date.at(hour, minute, 0, 0).to_zoned(zone.clone()).ok()?;
                let moment = Moment::from_unix(zoned.timestamp().as_second());
                if moment > now {
                    return Some(moment);
                }
            }
        }
        None
    }

    fn in_words(&self) -> Option<String> {
        let Self { minute, hour, day, month, weekday } = self;
        let (all_days, all_weekdays) = (day.is_all(1, 31), weekday.is_all(0, 6));
        // Without a star in either, a day that fits one of them is meant.
        let is_either = !day.star && !weekday.star && (all_days || all_weekdays);
        let every_day = month.is_all(1, 12) && (is_either || all_days && all_weekdays);
        if every_day && hour.is_all(0, 23) {
            return minutes_in_words(*minute);
        }
        let at = times(*hour, *minute)?;
        if every_day {
            return Some(format!("every day at {at}"));
        }
        if !month.is_all(1, 12) {
            return None;
        }
        match (all_days, all_weekdays) {
            (true, _) => Some(format!("every week on {} at {at}", named(*weekday))),
            (_, true) => {
                let days: Vec<String> = day.numbers().map(|n| n.to_string()).collect();
                let plural = if days.len() == 1 { "" } else { "s" };
                Some(format!("every month on day{plural} {} at {at}", days.join(", ")))
            }
            _ => None,
        }
    }
}

fn weekday_number(weekday: Weekday) -> u32 {
    u32::try_from(weekday.to_sunday_zero_offset()).unwrap_or(0)
}

fn minutes_in_words(minutes: Field) -> Option<String> {
    let numbers: Vec<u32> = minutes.numbers().collect();
    match numbers[..] {
        [minute] => Some(format!("every hour at minute {minute}")),
        [0, second, ..]
            if 60 % second == 0 && numbers.iter().copied().eq((0..60).step_by(second as usize)) =>
        {
            Some(if second == 1 {
                "every minute".into()
            } else {
                format!("every {second} minutes")
            })
        }
        _ => None,
    }
}

/// Times of day, where they are few.
fn times(hour: Field, minute: Field) -> Option<String> {
    let minutes: Vec<u32> = minute.numbers().collect();
    let [minute] = minutes[..] else { return None };
    let hours: Vec<u32> = hour.numbers().collect();
    if hours.len() > 6 {
        return None;
    }
    let times: Vec<String> = hours.iter().map(|hour| format!("{hour:02}:{minute:02}")).collect();
    Some(times.join(", "))
}

fn named(weekdays: Field) -> String {
    if weekdays.numbers().eq(1..6) {
        return "Monday to Friday".to_owned();
    }
    let names: Vec<&str> =
        weekdays.numbers().filter_map(|n| DAY_NAMES.get(n as usize).copied()).collect();
    names.join(", ")
}

impl Field {
    fn has(self, number: u32) -> bool {
        self.bits >> number & 1 == 1
    }

    fn is_all(self, low: u32, high: u32) -> bool {
        (low..=high).all(|number| self.has(number))
    }

    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..60).filter(move |number| self.has(*number))
    }

    fn parse(text: &str, limits: (u32, u32), names: (&[&str], u32)) -> Option<Self> {
        let mut field = Self { bits: 0, star: text.starts_with('*') };
        for item in text.split(',') {
            field.bits |= range(item, limits, names)?;
        }
        Some(field)
    }
}

fn range(item: &str, (low, high): (u32, u32), names: (&[&str], u32)) -> Option<u64> {
    let (span, step) = match item.split_once('/') {
        Some((span, step)) => (span, Some(number(step, (&[], 0)).filter(|step| *step > 0)?)),
        None => (item, None),
    };
    let (from, to) = match (span, span.split_once('-')) {
        ("*", _) => (low, high),
        (_, Some((from, to))) => (number(from, names)?, number(to, names)?),
        // A step after a single number is an error to Debian's cron.
        (single, None) if step.is_none() => (number(single, names)?, number(single, names)?),
        _ => return None,
    };
    if from < low || to > high || from > to {
        return None;
    }
    let step = usize::try_from(step.unwrap_or(1)).ok()?;
    Some((from..=to).step_by(step).fold(0, |bits, number| bits | 1 << number))
}

fn number(text: &str, (names, first): (&[&str], u32)) -> Option<u32> {
    if let Some(place) = names.iter().position(|name| *name == text) {
        return Some(first + u32::try_from(place).ok()?);
    }
    let is_number = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    fn next(text: &str, now: &str) -> String {
        let moment = schedule(text).next_after(now.parse().unwrap(), &TimeZone::UTC);
        moment.map_or("never".into(), |m| m.to_string())
    }

    #[test]
    fn words_have_barcs_times() {
        let fields = |text: &str| schedule(text).fields().to_owned();
        assert_eq!(fields("hourly"), "0 * * * *");
        assert_eq!(fields("@daily"), "0 0 * * *");
        assert_eq!(fields("Weekly"), "0 0 * * 0");
        assert_eq!(fields("@midnight"), "0 0 * * *");
        assert_eq!(fields(" 5  4 * * SUN "), "5 4 * * sun");
        let of = |label: &str| Schedule::of_label(label).to_string();
        assert_eq!(
            ["hourly", "my-weekly", "monthly2", "other"].map(of),
            ["hourly", "weekly", "monthly", "daily"]
        );
    }

    #[test]
    fn what_debians_cron_refuses_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5/10 * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "sat-mon * * * *",
            "* * * * sat-mon",
            "1,,2 * * * *",
            "a * * * *",
            "-1 * * * *",
            "*-5 * * * *",
            "@reboot",
            "yearly",
            "1;2 * * * *",
            "+1 * * * *",
            "0x1 * * * *",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        for text in
            ["*/5 0-23/2 1,15 jan-mar,12 mon-fri,7", "59 23 31 12 0", "* * * * 5-7", "*/90 * * * *"]
        {
            schedule(text);
        }
    }

    #[test]
    fn the_next_run_comes_after_now() {
        assert_eq!(next("hourly", "2026-01-01T00:00:00Z"), "2026-01-01T01:00:00Z");
        assert_eq!(next("*/15 * * * *", "2026-01-01T00:15:01Z"), "2026-01-01T00:30:00Z");
        assert_eq!(next("weekly", "2026-01-01T00:00:00Z"), "2026-01-04T00:00:00Z");
        assert_eq!(next("0 0 * * 7", "2026-01-01T00:00:00Z"), "2026-01-04T00:00:00Z");
        assert_eq!(next("0 0 29 2 *", "2026-01-01T00:00:00Z"), "2028-02-29T00:00:00Z");
        assert_eq!(next("0 0 30 2 *", "2026-01-01T00:00:00Z"), "never");
    }

    #[test]
    fn day_and_weekday_are_alternatives_unless_one_is_a_star() {
        // The 13th of January 2026 is a Tuesday, the first Friday after it the 16th.
        assert_eq!(next("0 0 13 * fri", "2026-01-12T00:00:00Z"), "2026-01-13T00:00:00Z");
        assert_eq!(next("0 0 13 * fri", "2026-01-13T00:00:00Z"), "2026-01-16T00:00:00Z");
        assert_eq!(next("0 0 13 * *", "2026-01-13T00:00:00Z"), "2026-02-13T00:00:00Z");
        assert_eq!(next("0 0 */1 * fri", "2026-01-13T00:00:00Z"), "2026-01-16T00:00:00Z");
    }

    #[test]
    fn local_time_is_meant_and_summer_time_hides_no_run() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let next = |now: &str| {
            let now: Moment = now.parse().unwrap();
            schedule("30 2 * * *").next_after(now, &berlin).unwrap().to_string()
        };
        assert_eq!(next("2026-01-01T00:00:00Z"), "2026-01-01T01:30:00Z");
        // 02:30 does not exist on this day.
        assert_eq!(next("2026-03-28T12:00:00Z"), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn intervals_are_the_longest_gaps() {
        let interval = |text: &str| {
            schedule(text).longest_pause("2026-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC)
        };
        assert_eq!(interval("hourly"), Some(3600));
        assert_eq!(interval("daily"), Some(86_400));
        assert_eq!(interval("0 2 * * mon-fri"), Some(3 * 86_400));
        assert_eq!(interval("0 8-18 * * mon-fri"), Some((2 * 24 + 14) * 3600));
        assert_eq!(interval("*/15 6-10 * * *"), Some(19 * 3600 + 15 * 60));
        assert_eq!(interval("monthly"), Some(31 * 86_400));
        assert_eq!(interval("0 0 30 2 *"), None);
    }

    #[test]
    fn common_schedules_have_words() {
        let words = |text: &str| schedule(text).in_words();
        assert_eq!(words("hourly"), "every hour at minute 0");
        assert_eq!(words("*/15 * * * *"), "every 15 minutes");
        assert_eq!(words("* * * * *"), "every minute");
        assert_eq!(words("daily"), "every day at 00:00");
        assert_eq!(words("30 2,14 * * *"), "every day at 02:30, 14:30");
        assert_eq!(words("weekly"), "every week on Sunday at 00:00");
        assert_eq!(words("0 2 * * 1-5"), "every week on Monday to Friday at 02:00");
        assert_eq!(words("0 2 * * sat,sun"), "every week on Sunday, Saturday at 02:00");
        assert_eq!(words("monthly"), "every month on day 1 at 00:00");
        assert_eq!(words("0 0 1,15 * *"), "every month on days 1, 15 at 00:00");
        assert_eq!(words("0 0 13 * fri"), "cron 0 0 13 * fri");
        assert_eq!(words("0 0 1-31 * mon"), "every day at 00:00");
        assert_eq!(words("0 0 1 1 *"), "cron 0 0 1 1 *");
    }
}
