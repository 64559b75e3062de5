//! What happened at every step: a table and a picture.

use std::path::Path;

use plotters::prelude::*;

use super::TrainError;
use crate::support::files::write_whole;

/// Numbers of every step.
#[derive(Debug, Clone, Default)]
pub(super) struct Curves {
    /// What the picture is of.
    pub(super) title: String,
    /// What the numbers are.
    pub(super) columns: &'static [&'static str],
    /// One row per step.
    pub(super) rows: Vec<Vec<f32>>,
}

/// Width and height of one curve.
const PANEL: (u32, u32) = (640, 150);

impl Curves {
    /// Writes the table as CSV and the picture as SVG.
    pub(super) fn write(&self, csv: &Path, svg: &Path) -> Result<(), TrainError> {
        let save = |path: &Path, bytes: &[u8]| {
            write_whole(path, bytes).map_err(|source| TrainError::Io {
                path: path.to_owned(),
                source,
            })
        };
        save(csv, &self.table().map_err(TrainError::Table)?)?;
        let picture = self.picture().map_err(TrainError::Picture)?;
        save(svg, picture.as_bytes())
    }

    fn table(&self) -> Result<Vec<u8>, csv::Error> {
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(std::iter::once("step").chain(self.columns.iter().copied()))?;
        for (step, row) in self.rows.iter().enumerate() {
            let step = (step + 1).to_string();
            let numbers = row.iter().map(f32::to_string);
            table.write_record(std::iter::once(step).chain(numbers))?;
        }
        Ok(table.into_inner().unwrap_or_default())
    }

    /// One panel per column, one below the other.
    fn picture(&self) -> Result<String, String> {
        let mut svg = String::new();
        let height = PANEL.1 * self.columns.len() as u32;
        let root = SVGBackend::with_string(&mut svg, (PANEL.0, height)).into_drawing_area();
        let panels = root.split_evenly((self.columns.len(), 1));
        for (column, panel) in panels.iter().enumerate() {
            self.panel(column, panel)
                .map_err(|error| error.to_string())?;
        }
        root.present().map_err(|error| error.to_string())?;
        drop(panels);
        drop(root);
        Ok(svg)
    }

    fn panel<'a>(
        &self,
        column: usize,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        area.fill(&WHITE)?;
        let values = || self.rows.iter().filter_map(|row| row.get(column)).copied();
        let lowest = values().fold(0.0_f32, f32::min);
        let highest = values().fold(f32::MIN_POSITIVE, f32::max);
        let name = self.columns[column];
        let caption = if column == 0 {
            format!("{}: {name}", self.title)
        } else {
            name.to_owned()
        };
        let mut chart = ChartBuilder::on(area)
            .caption(caption, ("sans-serif", 14))
            .margin(6)
            .x_label_area_size(20)
            .y_label_area_size(56)
            .build_cartesian_2d(0..self.rows.len().max(1), lowest..highest * 1.05)?;
        chart
            .configure_mesh()
            .y_labels(4)
            .max_light_lines(1)
            .y_label_formatter(&|number| match number.abs() {
                small if small > 0.0 && small < 0.01 => format!("{number:.1e}"),
                _ => format!("{number:.2}"),
            })
            .draw()?;
        let points = self.averaged(column);
        chart.draw_series(LineSeries::new(points, &BLUE))?;
        Ok(())
    }

    /// A column in at most as many points as the picture is wide, each the
    /// mean of its steps.
    fn averaged(&self, column: usize) -> impl Iterator<Item = (usize, f32)> {
        let every = self.rows.len().div_ceil(PANEL.0 as usize).max(1);
        self.rows.chunks(every).enumerate().map(move |(i, rows)| {
            let values = rows.iter().filter_map(|row| row.get(column));
            (i * every, values.sum::<f32>() / rows.len() as f32)
        })
    }
}
