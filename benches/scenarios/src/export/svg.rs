//! Charts as inline SVG: no script, no font, no external file; text in the page's own colour.

use std::fmt::Write;

/// Colours that stay apart for colour-blind readers (Okabe and Ito), dark enough on white and on black.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b88a00", "#3a9bd6", "#7f7f7f"];
/// Dash patterns, so that lines are told apart without colour too.
const DASHES: [&str; 7] = ["", "6 3", "2 3", "8 3 2 3", "12 4", "4 2", "1 2"];

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// The colour of the n-th target.
pub fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Text inside markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A named line.
pub struct Line<'a> {
    /// Its name, for the legend.
    pub name: &'a str,
    /// Index of its colour and dash pattern.
    pub style: usize,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
}

/// What a chart's axes say.
pub struct Axes<'a> {
    /// What the chart shows, for those who do not see it.
    pub label: &'a str,
    /// Text of the x axis.
    pub x: &'a str,
    /// Text of the y axis.
    pub y: &'a str,
    /// Whether the x axis is logarithmic.
    pub log_x: bool,
    /// Whether points are marked.
    pub marks: bool,
}

/// A number as short as it can be said.
fn short(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// About five round numbers that span the range.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = (high - low).max(1e-9);
    let raw = span / 5.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last.min(first + 20)).map(|i| i as f64 * step).collect()
}

/// The smallest and the largest of the values, the second a little above the first.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    (low <= high).then(|| (low, if high > low { high } else { low + low.abs().max(1.0) }))
}

/// A line chart; empty when there is nothing to draw.
pub fn lines(axes: &Axes<'_>, lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|l| l.points.iter().copied());
    let tx = |x: f64| if axes.log_x { x.max(1e-9).log10() } else { x };
    let (Some(xs), Some(ys)) = (range(points().map(|p| tx(p.0))), range(points().map(|p| p.1))) else {
        return String::new();
    };
    let ys = (ys.0.min(0.0), ys.1);
    let px = |x: f64| LEFT + (tx(x) - xs.0) / (xs.1 - xs.0) * (WIDTH - LEFT - RIGHT);
    let py = |y: f64| HEIGHT - BOTTOM - (y - ys.0) / (ys.1 - ys.0) * (HEIGHT - TOP - BOTTOM);
    let mut out = open(axes.label, HEIGHT);
    for y in ticks(ys.0, ys.1) {
        grid_line(&mut out, (LEFT, py(y)), (WIDTH - RIGHT, py(y)));
        text(&mut out, LEFT - 6.0, py(y) + 4.0, "end", &short(y));
    }
    let x_ticks = if axes.log_x { log_ticks(xs) } else { ticks(xs.0, xs.1) };
    for x in x_ticks {
        text(&mut out, px(x), HEIGHT - BOTTOM + 16.0, "middle", &short(x));
    }
    text(&mut out, f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 8.0, "middle", axes.x);
    let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
    let _ = write!(
        out,
        "<text x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
        escape(axes.y)
    );
    for line in lines {
        let path: Vec<String> =
            line.points.iter().map(|p| format!("{:.1},{:.1}", px(p.0), py(p.1))).collect();
        let _ = write!(
            out,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\" points=\"{}\"><title>{}</title></polyline>",
            colour(line.style),
            DASHES[line.style % DASHES.len()],
            path.join(" "),
            escape(line.name)
        );
        for p in line.points.iter().filter(|_| axes.marks) {
            let (x, y) = (px(p.0), py(p.1));
            let _ =
                write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{}\"/>", colour(line.style));
        }
    }
    out.push_str("</svg>");
    out
}

/// Powers of ten, with 2 and 5 between them where the range is narrow.
fn log_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let factors: &[f64] = if high - low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    (low.floor() as i32..=high.ceil() as i32)
        .flat_map(|power| factors.iter().map(move |f| f * 10_f64.powi(power)))
        .filter(|x| (low - 1e-9..=high + 1e-9).contains(&x.log10()))
        .collect()
}

/// One bar, of one or more parts.
pub struct Bar<'a> {
    /// Its name, at its left.
    pub name: &'a str,
    /// Its parts: name, length, index of the colour.
    pub parts: Vec<(&'a str, f64, usize)>,
    /// What stands at its end.
    pub end: String,
}

/// Horizontal bars; empty when there is nothing to draw.
pub fn bars(label: &str, bars: &[Bar<'_>]) -> String {
    let total = |bar: &Bar<'_>| bar.parts.iter().map(|p| p.1.max(0.0)).sum::<f64>();
    let longest = bars.iter().map(total).fold(0.0, f64::max);
    if longest <= 0.0 {
        return String::new();
    }
    let (left, right) = (120.0, 150.0);
    let height = 8.0 + 28.0 * bars.len() as f64;
    let mut out = open(label, height);
    for (i, bar) in bars.iter().enumerate() {
        let y = 8.0 + 28.0 * i as f64;
        text(&mut out, left - 8.0, y + 14.0, "end", bar.name);
        let mut x = left;
        for (name, length, style) in &bar.parts {
            let width = length.max(0.0) / longest * (WIDTH - left - right);
            let _ = write!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"20\" fill=\"{}\"><title>{}: {}</title></rect>",
                colour(*style),
                escape(name),
                short(*length)
            );
            x += width;
        }
        text(&mut out, x + 6.0, y + 14.0, "start", &bar.end);
    }
    out.push_str("</svg>");
    out
}

/// A legend as HTML: the colour never stands alone.
pub fn legend<'a>(entries: impl Iterator<Item = (&'a str, usize)>) -> String {
    let mut out = String::from("<p class=\"legend\">");
    for (name, style) in entries {
        let dash = DASHES[style % DASHES.len()];
        let _ = write!(
            out,
            "<span><svg width=\"28\" height=\"10\" aria-hidden=\"true\"><line x1=\"0\" y1=\"5\" x2=\"28\" y2=\"5\" stroke=\"{}\" stroke-width=\"4\" stroke-dasharray=\"{dash}\"/></svg> {}</span> ",
            colour(style),
            escape(name)
        );
    }
    out.push_str("</p>");
    out
}

fn open(label: &str, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(label))
}

fn grid_line(out: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = write!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"grid\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(what));
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes<'_> = Axes { label: "a \"chart\"", x: "x", y: "y", log_x: false, marks: true };

    #[test]
    fn nothing_draws_nothing() {
        assert_eq!(lines(&AXES, &[]), "");
        assert_eq!(lines(&AXES, &[Line { name: "n", style: 0, points: vec![(f64::NAN, f64::NAN)] }]), "");
        assert_eq!(bars("b", &[]), "");
    }

    #[test]
    fn points_stay_inside_and_names_are_escaped() {
        let line = Line { name: "<b>", style: 9, points: vec![(1.0, 5.0), (2.0, -3.0), (4.0, 1e6)] };
        let svg = lines(&AXES, &[line]);
        assert!(svg.contains("&lt;b&gt;") && svg.contains("a &quot;chart&quot;") && !svg.contains("NaN"));
        let numbers = |name: &str| -> Vec<f64> {
            svg.split(&format!(" {name}=\""))
                .skip(1)
                .map(|s| s.split('"').next().unwrap().parse().unwrap())
                .collect()
        };
        assert!(numbers("cx").iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)));
        assert!(numbers("cy").iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)));
    }

    #[test]
    fn a_single_point_and_a_log_axis_are_fine() {
        let one = Line { name: "n", style: 0, points: vec![(10.0, 0.0)] };
        let svg = lines(&Axes { log_x: true, ..AXES }, &[one]);
        assert!(svg.contains("circle") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert!(ticks(0.0, 1e9).len() <= 12);
        assert_eq!((short(12.0), short(0.5), short(1234.5)), ("12".into(), "0.5".into(), "1234".into()));
    }
}
