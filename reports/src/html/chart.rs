//! Charts as inline SVG: drawn by plotters, labelled for readers who see none, coloured by the page.

use plotters::coord::Shift;
use plotters::prelude::*;
use std::fmt::Write as _;

use crate::text::{one_line, shorten};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 340;
/// Bright enough on dark paper, dark enough on light; told apart also by their markers.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x2f, 0x7f, 0xc1),
    RGBColor(0xd9, 0x73, 0x0d),
    RGBColor(0x1a, 0x96, 0x88),
    RGBColor(0x9a, 0x5f, 0xc0),
    RGBColor(0x80, 0x88, 0x90),
    RGBColor(0xa8, 0x80, 0x0a),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A named series of points.
pub(super) struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One target on a ladder: median with its interval, and the tail.
pub(super) struct Rung {
    pub name: String,
    pub p50: f64,
    pub low: f64,
    pub high: f64,
    pub p99: f64,
}

/// Draws each line with its colour and marker, and the legend. `step` thins the markers out.
macro_rules! draw_lines {
    ($chart:ident, $lines:ident, $step:expr) => {
        for (i, line) in $lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            $chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
                .label(label(&line.name))
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], colour.stroke_width(3)));
            let step = (line.points.len() / $step).max(1);
            let marks =
                line.points.iter().copied().skip(i % step.max(1)).step_by(if $step == 1 { 1 } else { step });
            match i % 3 {
                0 => $chart.draw_series(marks.map(|p| Circle::new(p, 4, colour.filled())))?,
                1 => $chart.draw_series(marks.map(|p| TriangleMarker::new(p, 6, colour.filled())))?,
                _ => $chart.draw_series(marks.map(|p| Cross::new(p, 5, colour.stroke_width(2))))?,
            };
        }
        $chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(("sans-serif", 15))
            .border_style(BLACK.mix(0.2))
            .draw()?;
    };
}

/// The share of values at or below x, for each series, on a logarithmic axis.
pub(super) fn ecdf(title: &str, x: &str, series: &[(String, Vec<f64>)]) -> Option<String> {
    let lines: Vec<Line> = series
        .iter()
        .map(|(name, values)| {
            let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite() && *v > 0.0).collect();
            values.sort_by(f64::total_cmp);
            let n = values.len() as f64;
            let points = values.iter().enumerate().map(|(i, v)| (*v, (i + 1) as f64 / n)).collect();
            Line { name: name.clone(), points }
        })
        .filter(|l: &Line| !l.points.is_empty())
        .collect();
    let (low, high) = span(lines.iter().flat_map(|l| &l.points).map(|p| p.0))?;
    svg(title, HEIGHT, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d((low / 1.1..high * 1.1).log_scale(), 0.0..1.0)?;
        chart
            .configure_mesh()
            .x_desc(format!("{x}, logarithmic"))
            .y_desc("share of runs")
            .label_style(("sans-serif", 15))
            .axis_desc_style(("sans-serif", 16))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .x_label_formatter(&|v| number(*v))
            .draw()?;
        draw_lines!(chart, lines, 10);
        Ok(())
    })
}

/// Curves with both axes from zero.
pub(super) fn curves(title: &str, x: &str, y: &str, lines: &[Line]) -> Option<String> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let lines: Vec<Line> = lines
        .iter()
        .map(|l| Line { name: l.name.clone(), points: l.points.iter().filter(finite).copied().collect() })
        .filter(|l| !l.points.is_empty())
        .collect();
    let top = |f: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|l| &l.points).map(f).fold(0.0, f64::max);
    let bottom = lines.iter().flat_map(|l| &l.points).map(|p| p.1).fold(0.0, f64::min);
    let (right, up) = (top(|p| p.0), top(|p| p.1));
    if lines.is_empty() || right <= 0.0 || up <= bottom {
        return None;
    }
    svg(title, HEIGHT, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..right * 1.03, bottom..up * 1.08)?;
        chart
            .configure_mesh()
            .x_desc(label(x))
            .y_desc(label(y))
            .label_style(("sans-serif", 15))
            .axis_desc_style(("sans-serif", 16))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .x_label_formatter(&|v| number(*v))
            .y_label_formatter(&|v| number(*v))
            .draw()?;
        draw_lines!(chart, lines, 1);
        Ok(())
    })
}

/// Medians with their intervals on one logarithmic axis, a thin line up to the 99 % quantile.
pub(super) fn ladder(title: &str, x: &str, rungs: &[Rung]) -> Option<String> {
    let usable = |r: &&Rung| [r.p50, r.low, r.high, r.p99].iter().all(|v| v.is_finite() && *v > 0.0);
    let rungs: Vec<&Rung> = rungs.iter().filter(usable).collect();
    let (low, high) = span(rungs.iter().flat_map(|r| [r.low, r.p50, r.high, r.p99]))?;
    let height = 80 + 42 * rungs.len() as u32;
    let n = rungs.len() as f64;
    svg(title, height, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(44)
            .build_cartesian_2d((low / 1.25..high * 1.25).log_scale(), 0.0..n)?;
        chart
            .configure_mesh()
            .x_desc(format!("{x}, logarithmic: median, its 95 % interval, 99 % quantile"))
            .disable_y_mesh()
            .disable_y_axis()
            .label_style(("sans-serif", 15))
            .axis_desc_style(("sans-serif", 15))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .x_label_formatter(&|v| number(*v))
            .draw()?;
        for (i, rung) in rungs.iter().enumerate() {
            let y = n - i as f64 - 0.7;
            let colour = COLOURS[i % COLOURS.len()];
            let line =
                |from, to, width| PathElement::new(vec![(from, y), (to, y)], colour.stroke_width(width));
            chart.draw_series([line(rung.p50, rung.p99, 2), line(rung.low, rung.high, 8)])?;
            chart.draw_series([Circle::new((rung.p50, y), 5, colour.filled())])?;
            let words = format!("{}  {}", label(&rung.name), number(rung.p50));
            let style = ("sans-serif", 15).into_font().color(&BLACK);
            chart.draw_series([Text::new(words, (low / 1.2, y + 0.55), style)])?;
        }
        Ok(())
    })
}

/// What happens one after the other: one bar per name, its parts in order of time.
pub(super) fn waterfall(
    title: &str,
    x: &str,
    parts: &[String],
    bars: &[(String, Vec<f64>)],
) -> Option<String> {
    let width = |values: &[f64]| values.iter().copied().filter(|v| v.is_finite() && *v > 0.0).sum::<f64>();
    let right = bars.iter().map(|(_, values)| width(values)).fold(0.0, f64::max);
    if right <= 0.0 || parts.is_empty() {
        return None;
    }
    let n = bars.len() as f64;
    // Room for the legend above the bars.
    let legend = parts.len().div_ceil(4) as f64 * 0.45;
    svg(title, 100 + 52 * bars.len() as u32, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(44)
            .build_cartesian_2d(0.0..right * 1.03, 0.0..n + legend)?;
        chart
            .configure_mesh()
            .x_desc(label(x))
            .disable_y_mesh()
            .disable_y_axis()
            .label_style(("sans-serif", 15))
            .axis_desc_style(("sans-serif", 15))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .x_label_formatter(&|v| number(*v))
            .draw()?;
        let style = || ("sans-serif", 15).into_font().color(&BLACK);
        for (i, part) in parts.iter().enumerate() {
            let at = ((i % 4) as f64 / 4.0 * right, n + legend - 0.1 - (i / 4) as f64 * 0.45);
            let end = (at.0 + right * 0.02, at.1 - 0.25);
            let colour = COLOURS[i % COLOURS.len()].mix(if i < COLOURS.len() { 1.0 } else { 0.55 });
            chart.draw_series([Rectangle::new([at, end], colour.filled())])?;
            chart.draw_series([Text::new(label(part), (end.0 + right * 0.01, at.1), style())])?;
        }
        for (row, (name, values)) in bars.iter().enumerate() {
            let top = n - row as f64;
            chart.draw_series([Text::new(label(name), (0.0, top - 0.05), style())])?;
            let mut from = 0.0;
            for (i, value) in values.iter().enumerate().filter(|(_, v)| v.is_finite() && **v > 0.0) {
                let colour = COLOURS[i % COLOURS.len()].mix(if i < COLOURS.len() { 1.0 } else { 0.55 });
                let bar = Rectangle::new([(from, top - 0.45), (from + value, top - 0.9)], colour.filled());
                chart.draw_series([bar])?;
                from += value;
            }
        }
        Ok(())
    })
}

/// Draws into a string; black becomes the colour of the page's text.
fn svg(title: &str, height: u32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Option<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&root).ok()?;
        root.present().ok()?;
    }
    let start = text.find("<svg ")?;
    let body = text[start..].replace("#000000", "currentColor");
    let (head, rest) = body.strip_prefix("<svg ")?.split_once('>')?;
    let view = format!("viewBox=\"0 0 {WIDTH} {height}\"");
    let keep = if head.contains("viewBox") { String::new() } else { format!(" {view}") };
    let mut out = format!("<svg role=\"img\" {head}{keep}>");
    let _ = write!(out, "<title>{}</title>{}", escape(title), rest.trim_end());
    Some(out)
}

/// The smallest and largest value, apart from each other.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values.filter(|v| v.is_finite() && *v > 0.0) {
        low = low.min(value);
        high = high.max(value);
    }
    if high <= 0.0 {
        return None;
    }
    Some(if high / low < 1.5 { (low / 1.3, high * 1.3) } else { (low, high) })
}

fn label(text: &str) -> String {
    shorten(&one_line(text), 48)
}

fn escape(text: &str) -> String {
    one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Three significant digits.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        a if !a.is_finite() => "–".into(),
        a if a >= 100.0 || value == 0.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        a if a >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
