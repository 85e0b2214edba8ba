//! Decimal numbers.

use super::Text;

/// The number is larger than its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// A decimal number of any number of digits, at most `max`; leading zeros mean nothing (`010` is ten). `None`: no digit stands here.
/// All its digits are read, also when it is too large.
pub fn number(text: &mut Text<'_>, max: u32) -> Option<Result<u32, Overflow>> {
    let digits = text.take_while(|byte| byte.is_ascii_digit());
    if digits.is_empty() {
        return None;
    }
    let value = digits
        .iter()
        .try_fold(0u32, |value, digit| value.checked_mul(10)?.checked_add(u32::from(digit - b'0')))
        .filter(|value| *value <= max);
    Some(value.ok_or(Overflow))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, max: u32) -> (Option<Result<u32, Overflow>>, usize) {
        let mut cursor = Text::new(text.as_bytes());
        (number(&mut cursor, max), cursor.offset())
    }

    #[test]
    fn leading_zeros_are_decimal() {
        assert_eq!(read("010,", 255), (Some(Ok(10)), 3));
        assert_eq!(read("000000000000255", 255), (Some(Ok(255)), 15));
    }

    #[test]
    fn a_number_above_the_limit_or_above_u32_is_an_overflow_and_read_whole() {
        assert_eq!(read("256", 255), (Some(Err(Overflow)), 3));
        assert_eq!(read("99999999999999999999 ", 65_535), (Some(Err(Overflow)), 20));
    }

    #[test]
    fn signs_and_spaces_are_no_digits() {
        assert_eq!(read("+1", 255), (None, 0));
        assert_eq!(read(" 1", 255), (None, 0));
        assert_eq!(read("", 255), (None, 0));
    }
}
