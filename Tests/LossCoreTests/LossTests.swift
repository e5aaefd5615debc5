import XCTest

@testable import LossCore

/// The golden vectors of spec/losses.md section 9 through the core, at every level and for 1 to 3 threads: values,
/// sums of the gradient and of its absolute value. The Python tests hold the rest.
final class LossTests: XCTestCase {
    private let p = Buffer(Golden.p), y = Buffer(Golden.y), m = Buffer(Golden.m), t = Buffer(Golden.t)
    private let tStar = Buffer(Golden.tStar), tMask = Buffer(Golden.tMask), b = Buffer(Golden.b)

    private func tensor(_ name: StaticString, _ buffer: Buffer<Double>) -> Tensor {
        buffer.tensor(name, .f64, Golden.shape)
    }

    /// 1e-9, or half a unit of the last of twelve printed digits.
    private func checkAll<L: Loss>(
        _ expected: (loss: Double, sum: Double, absolute: Double), value: (L.Parts) -> Double,
        _ make: (Execution) throws -> L
    ) throws {
        var bits: [UInt64]?
        for level in levels {
            for threads in 1...3 {
                let loss = try make(execution(level, threads: threads))
                let grads = loss.predictions.map { _ in Buffer([Double](repeating: 9, count: 84)) }
                let parts = try loss(gradOutput: 1, gradients: grads.map { tensor("grad", $0) })
                let first = grads[0].values
                XCTAssertEqual(value(parts), expected.loss, accuracy: 1e-9 * max(1, abs(expected.loss)))
                XCTAssertEqual(first.reduce(0, +), expected.sum, accuracy: 6e-9 * max(1, abs(expected.sum)))
                XCTAssertEqual(
                    first.reduce(0) { $0 + abs($1) }, expected.absolute, accuracy: 6e-9 * max(1, expected.absolute))

                // Two phases, and an upstream factor.
                let again = loss.predictions.map { _ in Buffer([Double](repeating: 9, count: 84)) }
                let second = try loss.finish(
                    try loss.statistics(), gradOutput: 1, gradients: again.map { tensor("grad", $0) })
                XCTAssertEqual(value(second), value(parts))
                XCTAssertEqual(again.map(\.values), grads.map(\.values))

                let all = [value(parts).bitPattern] + grads.flatMap { $0.values.map(\.bitPattern) }
                XCTAssertEqual(all, bits ?? all, "\(level.name), \(threads) threads: other bits")
                bits = all
            }
        }
    }

    func testMaskDice() throws {
        try checkAll((0.746949372602, -0.175778976, 0.777326198), value: \.loss) { e in
            try MaskDiceLoss(
                MaskDice(eps: 1e-6), pred: tensor("pred", p), gt: tensor("gt", y), mask: tensor("mask", m),
                weights: nil, e)
        }
    }

    func testMaskL1() throws {
        try checkAll((0.252016558619, -0.111111109, 0.999999984), value: \.loss) { e in
            try MaskL1Loss(
                MaskL1(eps: 1e-6), pred: tensor("pred", t), gt: tensor("gt", tStar), mask: tensor("mask", tMask), e)
        }
    }

    private func balance(_ main: Balance.Main, ratio: Double = 3, truncates: Bool = false) throws -> Balance {
        try Balance(
            main: main, isBalanced: true, ratio: ratio, eps: 1e-6, crossEntropy: .log, truncatesWeights: truncates,
            fallbackNegatives: 0, isClean: false)
    }

    func testBalance() throws {
        let rows: [(Balance.Main, Double, (Double, Double, Double))] = [
            (.dice, 3, (0.746949359264, -0.175778973, 0.777326184)),
            (.bce, 3, (1.59691504674, 4.94146897, 8.20816442)),
            (.bce, 1, (2.05687203353, 5.66212923, 12.19552)),
            (.diceOHEM, 3, (0.732144786484, -0.301275147, 0.699041243)),
            (.diceOHEM, 1, (0.603056613603, -0.528239547, 0.843685927)),
        ]
        for (main, ratio, expected) in rows {
            try checkAll((expected.0, expected.1, expected.2), value: \.loss) { e in
                try BalanceLoss(
                    balance(main, ratio: ratio), pred: tensor("pred", p), gt: tensor("gt", y),
                    mask: tensor("mask", m), e)
            }
        }
    }

    func testDB() throws {
        let maps = DBLoss.Maps(
            thresh: tensor("thresh", t), binary: tensor("binary", b), thresholdMap: tensor("threshold_map", tStar),
            thresholdMask: tensor("threshold_mask", tMask))
        try checkAll((7.0481189038, -0.878894864, 3.88663092), value: \.loss) { e in
            try DBLoss(
                DB(
                    shrink: balance(.dice), threshold: MaskL1(eps: 1e-6), binary: .dice(MaskDice(eps: 1e-6)),
                    shrinkWeight: 5, thresholdWeight: 10, binaryWeight: 1, step: nil),
                prob: tensor("prob", p), shrinkMap: tensor("shrink_map", y), shrinkMask: tensor("shrink_mask", m),
                maps: maps, e)
        }
        // MhLiao's form.
        try checkAll((11.2979473812, 24.7073448, 41.0408221), value: \.loss) { e in
            try DBLoss(
                DB(
                    shrink: balance(.bce, truncates: true), threshold: MaskL1(eps: 0),
                    binary: .dice(MaskDice(eps: 1e-6)), shrinkWeight: 5, thresholdWeight: 10, binaryWeight: 1,
                    step: nil),
                prob: tensor("prob", p), shrinkMap: tensor("shrink_map", y), shrinkMask: tensor("shrink_mask", m),
                maps: maps, e)
        }
    }

    func testDBStep() throws {
        let out = Buffer([Double](repeating: 0, count: 84))
        for level in levels {
            try DBStep(prob: tensor("prob", p), thresh: tensor("thresh", t), k: 50, execution(level))
                .value(to: tensor("out", out))
            for (value, expected) in zip(out.values, Golden.b) {
                XCTAssertEqual(value, expected, accuracy: 1e-12 * max(expected, 1e-3))
            }
        }
    }
}
