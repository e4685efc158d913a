//! A weight matrix quantised to `Q8_0`, multiplied with one vector at a time on the calling thread.
//!
//! candle's own quantised product runs on a pool whose threads spin for each other: on two idle cores it is a third
//! faster than one thread, but as soon as anything else runs it falls to a tenth (measured: 71 tokens/s idle, 6–10
//! beside a compiler, against a steady 59–71 on one thread). A twin that runs beside a bundler, a browser and a test
//! runner wants the steady one, and the other core stays free for embeddings.

use candle_core::quantized::k_quants::{BlockQ8_0, GgmlType};
use candle_core::{Device, Result, Tensor};

/// Weights per block, which share one scale.
const BLOCK: usize = 32;

/// A matrix `[rows, columns]`; `columns` is a multiple of 32.
pub struct Matrix {
    blocks: Vec<BlockQ8_0>,
    columns: usize,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matrix")
            .field("rows", &self.rows())
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl Matrix {
    /// Quantises a two-dimensional f32 tensor.
    ///
    /// # Errors
    /// When the tensor is not `[rows, columns]` with a multiple of 32 columns.
    pub fn quantise(weight: &Tensor) -> Result<Self> {
        let (_, columns) = weight.dims2()?;
        if !columns.is_multiple_of(BLOCK) {
            candle_core::bail!("{columns} columns cannot be quantised in blocks of {BLOCK}");
        }
        Ok(Self { blocks: quantise(&weight.flatten_all()?.to_vec1::<f32>()?), columns })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.blocks.len() / (self.columns / BLOCK)
    }

    /// The product with a vector of `columns` numbers: `rows` numbers.
    pub fn times(&self, vector: &[f32]) -> Vec<f32> {
        let vector = quantise(vector);
        self.blocks
            .chunks_exact(self.columns / BLOCK)
            .map(|row| BlockQ8_0::vec_dot(self.columns, row, &vector))
            .collect()
    }

    /// Selected rows, dequantised: `[rows.len(), columns]`.
    ///
    /// # Errors
    /// When a row does not exist.
    pub fn select(&self, rows: &[u32]) -> Result<Tensor> {
        let per_row = self.columns / BLOCK;
        let mut values = vec![0.0; rows.len() * self.columns];
        for (row, out) in rows.iter().zip(values.chunks_exact_mut(self.columns)) {
            let from = *row as usize * per_row;
            match self.blocks.get(from..from + per_row) {
                Some(blocks) => BlockQ8_0::to_float(blocks, out),
                None => candle_core::bail!("no row {row} in a matrix of {}", self.rows()),
            }
        }
        Tensor::from_vec(values, (rows.len(), self.columns), &Device::Cpu)
    }

    /// The whole matrix in f32.
    ///
    /// # Errors
    /// When the allocation fails.
    pub fn dequantise(&self) -> Result<Tensor> {
        let mut values = vec![0.0; self.blocks.len() * BLOCK];
        BlockQ8_0::to_float(&self.blocks, &mut values);
        Tensor::from_vec(values, (self.rows(), self.columns), &Device::Cpu)
    }
}

fn quantise(values: &[f32]) -> Vec<BlockQ8_0> {
    let mut blocks = vec![BlockQ8_0::zeros(); values.len() / BLOCK];
    BlockQ8_0::from_float(values, &mut blocks);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_like_f32_up_to_rounding() {
        let values: Vec<f32> = (0..3 * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let vector: Vec<f32> = (0..64).map(|i| ((i * 17 % 29) as f32 - 14.0) / 14.0).collect();
        let tensor = Tensor::from_vec(values.clone(), (3, 64), &Device::Cpu).unwrap();
        let matrix = Matrix::quantise(&tensor).unwrap();
        assert_eq!(matrix.rows(), 3);
        for (row, got) in values.chunks(64).zip(matrix.times(&vector)) {
            let want: f32 = row.iter().zip(&vector).map(|(a, b)| a * b).sum();
            assert!((want - got).abs() < 0.1, "{want} {got}");
        }
        let row = matrix.select(&[2]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(row.iter().zip(&values[128..]).all(|(a, b)| (a - b).abs() < 0.01));
        assert!(matrix.select(&[3]).is_err());
    }
}
