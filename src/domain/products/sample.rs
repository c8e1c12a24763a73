//! Products that look like real ones: words of several scripts, long descriptions, a tree of
//! categories of which some are popular. The same number always makes the same product.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Draft;

mod words;

use words::{
    CLOSERS, COLOURS, KINDS, MAKES, MATERIALS, OPENERS, PLACES, ROOTS, SHELVES, SYLLABLES,
};

/// The first sample was made here, the others within two years.
const EPOCH: i64 = 1_704_067_200_000;
const SPAN_MS: u64 = 730 * 24 * 3600 * 1000;

/// A sample, with the facts that the database would else make up.
#[derive(Debug, Clone)]
pub struct Sample {
    pub id: Uuid,
    pub movement: Uuid,
    pub created_at: DateTime<Utc>,
    pub draft: Draft,
}

/// The sample of a number.
pub fn sample(number: u64) -> Sample {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6d61_696e_7374_6179);
    let millis = EPOCH.cast_unsigned() + dice.below(SPAN_MS);
    let mut id = || {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&dice.next().to_be_bytes());
        random[8..].copy_from_slice(&dice.next().to_be_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    };
    let (id, movement) = (id(), id());
    let created_at = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis.cast_signed());
    Sample { id, movement, created_at, draft: draft(number, &mut dice) }
}

fn draft(number: u64, dice: &mut Dice) -> Draft {
    let (kind, material) = (*dice.pick(&KINDS), *dice.pick(&MATERIALS));
    let (make, colour) = (*dice.pick(&MAKES), *dice.pick(&COLOURS));
    let model = dice.below(9000) + 1000;
    let name = match dice.below(10) {
        0..4 => format!("{make} {} {kind} {model}", coined(dice)),
        4..7 => format!("{colour} {material} {kind} by {make}"),
        7..9 => format!("{kind} {make} {colour}, {} cm", dice.below(190) + 10),
        _ => format!("{make} {model} {kind} ({material}, {colour}) ✓"),
    };
    Draft {
        sku: format!("SAMPLE-{number:08}"),
        name,
        description: description(dice, kind, material),
        category: category(dice),
        amount: amount(dice),
        currency: dice.pick(&["EUR", "EUR", "EUR", "EUR", "USD", "GBP", "JPY"]).to_string(),
        attributes: attributes(dice, material, colour),
        // One in eight is sold out.
        stock: if dice.below(8) == 0 { 0 } else { dice.below(500).cast_signed() + 1 },
    }
}

/// The name of a series: one of some thousands.
fn coined(dice: &mut Dice) -> String {
    let name: String = (0..3).map(|_| *dice.pick(&SYLLABLES)).collect();
    name[..1].to_uppercase() + &name[1..]
}

/// A few sentences; of one in a hundred, some pages.
fn description(dice: &mut Dice, kind: &str, material: &str) -> String {
    let sentences = if dice.below(100) == 0 { dice.below(60) + 20 } else { dice.below(6) + 2 };
    let mut text = String::new();
    for number in 0..sentences {
        let (opener, closer) = (dice.pick(&OPENERS), dice.pick(&CLOSERS));
        text += &format!("{opener} {kind}, {material}, {} {closer}", dice.pick(&PLACES));
        text.push(if number % 4 == 3 { '\n' } else { ' ' });
    }
    text.truncate(text.trim_end().len());
    text
}

/// Three levels. The lower of two throws wins, so that the first shelves are the fullest.
fn category(dice: &mut Dice) -> String {
    let mut shelf = |most: usize| dice.below(most as u64).min(dice.below(most as u64)) as usize;
    let root = ROOTS[shelf(ROOTS.len())];
    format!("{root}/{}/{}", SHELVES[shelf(6)], SHELVES[6 + shelf(5)])
}

/// From 0.99 to about 5,000, with as many in each order of magnitude.
fn amount(dice: &mut Dice) -> i64 {
    let magnitude = 10_u64.pow(2 + dice.below(4) as u32);
    ((magnitude + dice.below(magnitude * 4)) / 100 * 100).cast_signed() - 1
}

fn attributes(dice: &mut Dice, material: &str, colour: &str) -> Map<String, Value> {
    let weight = dice.below(20_000) + 10;
    let all = json!({"material": material, "colour": colour, "weight_g": weight,
                     "tags": [dice.pick(&PLACES), dice.pick(&MAKES)]});
    all.as_object().cloned().unwrap_or_default()
}

/// SplitMix64: small, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::products::NewProduct;

    #[test]
    fn samples_hold_and_differ() {
        let all: Vec<_> = (0..2000).map(sample).collect();
        for sample in &all {
            NewProduct::check(sample.draft.clone())
                .unwrap_or_else(|error| panic!("{:?}: {:?}", sample.draft, error.fields()));
        }
        let ids: HashSet<_> = all.iter().flat_map(|sample| [sample.id, sample.movement]).collect();
        assert_eq!(ids.len(), 4000);
        let categories: HashSet<_> = all.iter().map(|sample| &sample.draft.category).collect();
        assert!(categories.len() > 150, "{}", categories.len());
        assert!(all.iter().any(|sample| sample.draft.description.len() > 4000));
        assert!(all.iter().any(|sample| !sample.draft.name.is_ascii()));
    }

    #[test]
    fn a_number_always_makes_the_same_product() {
        let (one, other) = (sample(7), sample(7));
        assert_eq!((one.id, &one.draft.name), (other.id, &other.draft.name));
        assert_eq!(one.id.get_version_num(), 7);
        assert_ne!(one.draft.name, sample(8).draft.name);
    }
}
