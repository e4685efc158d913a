//! Charts in documents and presentations.

use crate::markdown;
use crate::tree::Element;

/// A chart as the table it is drawn from, below its title.
pub(super) fn table(chart: &Element) -> String {
    let mut series = Vec::new();
    chart.all("ser", &mut series);
    let points = |element: Option<&Element>| -> Vec<String> {
        let mut points = Vec::new();
        element.into_iter().for_each(|element| element.all("pt", &mut points));
        points.iter().map(|point| point.child("v").map(Element::text).unwrap_or_default()).collect()
    };
    let Some(first) = series.first() else { return String::new() };
    let names = points(first.child("cat").or_else(|| first.child("xVal")));
    let mut header = vec!["Category".to_owned()];
    let mut rows: Vec<Vec<String>> = names.into_iter().map(|name| vec![name]).collect();
    for one in &series {
        header.push(points(one.child("tx")).join(" "));
        for (at, value) in points(one.child("val").or_else(|| one.child("yVal"))).into_iter().enumerate() {
            if rows.len() <= at {
                rows.push(vec![(at + 1).to_string()]);
            }
            rows[at].push(value);
        }
    }
    rows.insert(0, header);
    let mut titles = Vec::new();
    chart.all("title", &mut titles);
    let mut texts = Vec::new();
    titles.first().into_iter().for_each(|title| title.all("t", &mut texts));
    let title: String = texts.iter().map(|text| text.text()).collect();
    format!(
        "{}{}\n",
        markdown::heading(3, &format!("Chart: {title}").replace("Chart: \n", "Chart")),
        markdown::table(&rows)
    )
}
