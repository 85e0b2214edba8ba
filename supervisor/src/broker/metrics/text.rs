//! A snapshot as OpenMetrics text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{METRICS, Metric, Sample, Snapshot, Type, Value};

/// The text, with its `# EOF`.
pub fn text(snapshot: &Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(snapshot.clone())));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        Err(fmt::Error) => "# EOF\n".to_owned(), // a String takes everything
    }
}

#[derive(Debug)]
struct All(Snapshot);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        METRICS.iter().try_for_each(|metric| metric.encode(&self.0, &mut encoder))
    }
}

impl Metric {
    fn encode(&self, snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let unit = (!self.unit.is_empty()).then(|| Unit::Other(self.unit.to_owned()));
        let kind = match self.kind {
            Type::Counter => MetricType::Counter,
            Type::Gauge => MetricType::Gauge,
        };
        let mut encoder = encoder.encode_descriptor(self.name, self.help, unit.as_ref(), kind)?;
        for Sample { labels, value } in (self.read)(snapshot) {
            let labels: Vec<(&str, String)> = self.labels.iter().copied().zip(labels).collect();
            let mut encoder = encoder.encode_family(&labels)?;
            match (self.kind, value) {
                (Type::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                (Type::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                (Type::Gauge, Value::Whole(value)) => encoder.encode_gauge(&value)?,
                (Type::Gauge, Value::Real(value)) => encoder.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}
