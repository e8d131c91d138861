//! Bytes to text, as Java's deserializers and `toString` do it.

/// A deserializer that a formatter can be told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deserializer {
    /// Text in UTF-8.
    String,
    /// `true` or `false` of one byte.
    Boolean,
    /// Two bytes.
    Short,
    /// Four bytes.
    Integer,
    /// Eight bytes.
    Long,
    /// Four bytes of IEEE 754.
    Float,
    /// Eight bytes of IEEE 754.
    Double,
    /// Text of a UUID.
    Uuid,
    /// Bytes, shown with escapes (`Bytes.toString`).
    Bytes,
    /// A buffer, shown as Java shows buffers: without what is in it.
    ByteBuffer,
}

const PACKAGE: &str = "org.apache.kafka.common.serialization.";

impl Deserializer {
    /// The deserializer of a Java class.
    pub fn by_class(class: &str) -> Option<Self> {
        Some(match class.strip_prefix(PACKAGE)? {
            "StringDeserializer" => Self::String,
            "BooleanDeserializer" => Self::Boolean,
            "ShortDeserializer" => Self::Short,
            "IntegerDeserializer" => Self::Integer,
            "LongDeserializer" => Self::Long,
            "FloatDeserializer" => Self::Float,
            "DoubleDeserializer" => Self::Double,
            "UUIDDeserializer" => Self::Uuid,
            "BytesDeserializer" => Self::Bytes,
            "ByteBufferDeserializer" => Self::ByteBuffer,
            _ => return None,
        })
    }

    /// The text of bytes. Errors: bytes of another size, in Kafka's words (`SerializationException`).
    pub fn text(self, bytes: &[u8]) -> Result<String, String> {
        Ok(match self {
            Self::String => String::from_utf8_lossy(bytes).into_owned(),
            Self::Boolean => match bytes {
                [0] => "false".to_owned(),
                [1] => "true".to_owned(),
                [other] => return Err(format!("Unexpected byte received by BooleanDeserializer: {}", *other as i8)),
                _ => return Err("Size of data received by BooleanDeserializer is not 1".to_owned()),
            },
            Self::Short => i16::from_be_bytes(sized(bytes, "ShortDeserializer is not 2")?).to_string(),
            Self::Integer => i32::from_be_bytes(sized(bytes, "IntegerDeserializer is not 4")?).to_string(),
            Self::Long => i64::from_be_bytes(sized(bytes, "LongDeserializer is not 8")?).to_string(),
            Self::Float => {
                let value = f32::from_be_bytes(sized(bytes, "Deserializer is not 4")?);
                java_decimal(&format!("{:e}", value.abs()), value.is_sign_negative(), value.is_finite())
            }
            Self::Double => {
                let value = f64::from_be_bytes(sized(bytes, "DoubleDeserializer is not 8")?);
                java_decimal(&format!("{:e}", value.abs()), value.is_sign_negative(), value.is_finite())
            }
            Self::Uuid => {
                let text = String::from_utf8_lossy(bytes);
                let parsed = crate::types::Uuid::parse_str(&text);
                parsed.map_err(|_| "Error parsing data into UUID".to_owned())?.to_string()
            }
            Self::Bytes => escaped(bytes),
            Self::ByteBuffer => {
                let size = bytes.len();
                format!("java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]")
            }
        })
    }
}

fn sized<const SIZE: usize>(bytes: &[u8], who: &str) -> Result<[u8; SIZE], String> {
    bytes.try_into().map_err(|_| format!("Size of data received by {who}"))
}

/// `Double.toString` of shortest digits: plain from 0.001 to below ten million, else with an exponent, always with a point.
fn java_decimal(scientific: &str, is_negative: bool, is_finite: bool) -> String {
    if !is_finite {
        return match (scientific, is_negative) {
            ("NaN", _) => "NaN".to_owned(),
            (_, false) => "Infinity".to_owned(),
            (_, true) => "-Infinity".to_owned(),
        };
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let number = match exponent {
        _ if digits == "0" => "0.0".to_owned(),
        -3..=-1 => format!("0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        0..=6 => {
            let whole = exponent as usize + 1;
            let padded = format!("{digits:0<width$}", width = whole + 1);
            format!("{}.{}", &padded[..whole], &padded[whole..])
        }
        _ => {
            let padded = format!("{digits:0<2}");
            format!("{}.{}E{exponent}", &padded[..1], &padded[1..])
        }
    };
    format!("{}{number}", if is_negative { "-" } else { "" })
}

/// Printable ASCII as it is, everything else as `\xHH` (`Bytes.toString`).
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' if *byte != b'\\' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\x{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(class: &str, bytes: &[u8]) -> Result<String, String> {
        Deserializer::by_class(&format!("{PACKAGE}{class}")).expect("a class").text(bytes)
    }

    #[test]
    fn whole_numbers() {
        assert_eq!(text("ShortDeserializer", &[0xff, 0xfe]), Ok("-2".to_owned()));
        assert_eq!(text("IntegerDeserializer", b"null"), Ok("1853189228".to_owned()), "what Java makes of a null, too");
        assert_eq!(text("LongDeserializer", &7_i64.to_be_bytes()), Ok("7".to_owned()));
        let error = text("LongDeserializer", b"x").unwrap_err();
        assert_eq!(error, "Size of data received by LongDeserializer is not 8");
    }

    #[test]
    fn fractions_look_as_in_java() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.001, "0.001"),
            (0.000_99, "9.9E-4"),
            (1_234_567.0, "1234567.0"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (1.25e300, "1.25E300"),
            (123.456, "123.456"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text("DoubleDeserializer", &f64::to_be_bytes(value)).as_deref(), Ok(expected));
        }
        assert_eq!(text("FloatDeserializer", &0.1_f32.to_be_bytes()).as_deref(), Ok("0.1"));
    }

    #[test]
    fn others() {
        assert_eq!(text("StringDeserializer", b"a\xff").as_deref(), Ok("a\u{fffd}"));
        assert_eq!(text("BooleanDeserializer", &[1]).as_deref(), Ok("true"));
        assert_eq!(text("BytesDeserializer", b"a\\\n\xff").as_deref(), Ok("a\\x5C\\x0A\\xFF"));
        let id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        assert_eq!(text("UUIDDeserializer", id.as_bytes()).as_deref(), Ok(id));
        assert_eq!(text("UUIDDeserializer", b"x").unwrap_err(), "Error parsing data into UUID");
        assert_eq!(Deserializer::by_class("my.Deserializer"), None);
    }
}
