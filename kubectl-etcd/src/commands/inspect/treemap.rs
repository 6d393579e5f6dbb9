//! A squarified treemap (Bruls, Huizing and van Wijk, 2000): weights as rectangles that are as near to squares as they can be. Pure.

/// A rectangle, in any unit of length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    fn area(&self) -> f64 {
        self.width * self.height
    }
}

/// A rectangle for every weight, in their order: the areas are in proportion to the weights, no two overlap, and together they fill the frame. They are
/// nearest to squares if the weights descend; then the first is at the top left. A weight of 0 gets no area.
pub(super) fn squarify(weights: &[u64], frame: Rect) -> Vec<Rect> {
    let mut rects = Vec::with_capacity(weights.len());
    let (mut free, mut rest) = (frame, weights);
    while !rest.is_empty() {
        let whole = sum(rest);
        if whole <= 0.0 {
            rects.extend(rest.iter().map(|_| Rect { width: 0.0, height: 0.0, ..free }));
            break;
        }
        let (row, later) = rest.split_at(row_length(rest, free.area() / whole, free.width.min(free.height)));
        let share = if later.is_empty() { 1.0 } else { sum(row) / whole };
        lay(row, share, &mut free, &mut rects);
        rest = later;
    }
    rects
}

fn sum(weights: &[u64]) -> f64 {
    weights.iter().map(|weight| *weight as f64).sum()
}

/// How many of the next weights make a row along `side` whose worst rectangle is nearest to a square. At least one; `scale` is the area of a weight of 1.
fn row_length(weights: &[u64], scale: f64, side: f64) -> usize {
    let (mut area, mut least, mut most) = (0.0, f64::INFINITY, 0.0_f64);
    let mut best = f64::INFINITY;
    for (at, weight) in weights.iter().enumerate() {
        let one = *weight as f64 * scale;
        area += one;
        least = least.min(one);
        most = most.max(one);
        // The worst proportion of a row: of its largest, or of its smallest.
        let worst = (side * side * most / (area * area)).max(area * area / (side * side * least));
        if at > 0 && (worst > best || worst.is_nan()) {
            return at;
        }
        best = worst;
    }
    weights.len()
}

/// Lays a row along the shorter side of what is free, with `share` of its area, and takes it from there.
fn lay(row: &[u64], share: f64, free: &mut Rect, rects: &mut Vec<Rect>) {
    let is_column = free.width >= free.height;
    let (side, other) = if is_column { (free.height, free.width) } else { (free.width, free.height) };
    let (thick, whole) = (other * share, sum(row));
    let mut from = 0.0;
    for (at, weight) in row.iter().enumerate() {
        // The last one ends where the side does, whatever was rounded.
        let long = if at + 1 == row.len() { side - from } else { side * (*weight as f64 / whole) };
        rects.push(match is_column {
            true => Rect { left: free.left, top: free.top + from, width: thick, height: long },
            false => Rect { left: free.left + from, top: free.top, width: long, height: thick },
        });
        from += long;
    }
    match is_column {
        true => *free = Rect { left: free.left + thick, width: free.width - thick, ..*free },
        false => *free = Rect { top: free.top + thick, height: free.height - thick, ..*free },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn overlap(a: &Rect, b: &Rect) -> f64 {
        let along = |from: f64, long: f64, other: f64, other_long: f64| {
            ((from + long).min(other + other_long) - from.max(other)).max(0.0)
        };
        along(a.left, a.width, b.left, b.width) * along(a.top, a.height, b.top, b.height)
    }

    fn sides() -> impl Strategy<Value = f64> {
        1.0..5000.0
    }

    fn weights() -> impl Strategy<Value = Vec<u64>> {
        let weight = prop_oneof![Just(0), 1..10_u64, 1..100_000_u64, 1..(1_u64 << 40)];
        prop::collection::vec(weight, 0..60)
    }

    proptest! {
        #[test]
        fn areas_are_in_proportion_nothing_overlaps_and_the_frame_is_filled(
            weights in weights(),
            left in -100.0..100.0,
            top in -100.0..100.0,
            width in sides(),
            height in sides(),
            descend in any::<bool>(),
        ) {
            let mut weights = weights;
            if descend {
                weights.sort_unstable_by(|a, b| b.cmp(a));
            }
            let frame = Rect { left, top, width, height };
            let rects = squarify(&weights, frame);
            prop_assert_eq!(rects.len(), weights.len());
            let (whole, tolerance) = (sum(&weights), frame.area() * 1e-9);
            let long = (width + height) * 1e-9;
            for (rect, weight) in rects.iter().zip(&weights) {
                let wanted = if whole > 0.0 { frame.area() * (*weight as f64 / whole) } else { 0.0 };
                prop_assert!((rect.area() - wanted).abs() <= tolerance, "{:?} is not {}", rect, wanted);
                prop_assert!(rect.left >= left - long && rect.top >= top - long, "{:?}", rect);
                prop_assert!(rect.left + rect.width <= left + width + long, "{:?}", rect);
                prop_assert!(rect.top + rect.height <= top + height + long, "{:?}", rect);
                prop_assert!(rect.width >= -long && rect.height >= -long, "{:?}", rect);
            }
            for (at, one) in rects.iter().enumerate() {
                for other in &rects[at + 1..] {
                    prop_assert!(overlap(one, other) <= tolerance, "{:?} {:?}", one, other);
                }
            }
            let filled: f64 = rects.iter().map(Rect::area).sum();
            prop_assert!(whole == 0.0 || (filled - frame.area()).abs() <= tolerance * 60.0);
        }

        #[test]
        fn many_of_about_the_same_weight_are_nearly_squares(weights in prop::collection::vec(50..100_u64, 20..200)) {
            let mut weights = weights;
            weights.sort_unstable_by(|a, b| b.cmp(a));
            for rect in squarify(&weights, Rect { left: 0.0, top: 0.0, width: 1000.0, height: 560.0 }) {
                let proportion = (rect.width / rect.height).max(rect.height / rect.width);
                prop_assert!(proportion < 4.0, "{:?}", rect);
            }
        }
    }

    #[test]
    fn the_example_of_the_paper_is_laid_out_as_there() {
        let frame = Rect { left: 0.0, top: 0.0, width: 6.0, height: 4.0 };
        let rects = squarify(&[6, 6, 4, 3, 2, 2, 1], frame);
        let near = |rect: &Rect, left: f64, top: f64, width: f64, height: f64| {
            let differences = [rect.left - left, rect.top - top, rect.width - width, rect.height - height];
            assert!(differences.iter().all(|difference| difference.abs() < 1e-9), "{rect:?}");
        };
        // Two columns of 6, then a row of 4 and 3, and what is left beside each other.
        near(&rects[0], 0.0, 0.0, 3.0, 2.0);
        near(&rects[1], 0.0, 2.0, 3.0, 2.0);
        near(&rects[2], 3.0, 0.0, 12.0 / 7.0, 7.0 / 3.0);
        near(&rects[3], 3.0 + 12.0 / 7.0, 0.0, 9.0 / 7.0, 7.0 / 3.0);
        near(&rects[4], 3.0, 7.0 / 3.0, 1.2, 5.0 / 3.0);
    }

    #[test]
    fn no_weight_gets_no_area() {
        let frame = Rect { left: 1.0, top: 2.0, width: 3.0, height: 4.0 };
        assert!(squarify(&[], frame).is_empty());
        assert!(squarify(&[0, 0], frame).iter().all(|rect| rect.area() == 0.0));
        assert_eq!(squarify(&[7], frame), [frame]);
    }
}
