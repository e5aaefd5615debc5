import KernelTable
import XCTest

@testable import LossCore

/// The kernels' elementary functions against the C library's in float64 (for float32), over a spread of all bit
/// patterns, at every level; and the same bits at every level.
final class MathTests: XCTestCase {
    /// Bit patterns at a prime distance, so that every exponent and many mantissas come up, and the special ones.
    static let patterns: [Float] = {
        var values: [Float] = [
            0, -0.0, 1, -1, .infinity, -.infinity, .nan, .leastNonzeroMagnitude, .leastNormalMagnitude,
            .greatestFiniteMagnitude, Float(bitPattern: 71_362), Float(1).nextUp, Float(1).nextDown, 0.70710677,
            0.70710683, 88.72, 88.73,
            -87.33, -103.9, -104, 16.635, 0.5, 2,
        ]
        var bits: UInt32 = 12345
        for _ in 0..<200_000 {
            values.append(Float(bitPattern: bits))
            bits &+= 21_467
        }
        return values
    }()

    private func apply(
        _ level: InstructionSet, _ inputs: [[Float]],
        _ body: (Kernels, [UnsafeRawPointer], UnsafeMutableRawPointer, Int) -> Void
    ) -> [Float] {
        let count = inputs[0].count
        let padded = (count + 31) / 32 * 32
        let buffers = inputs.map { Buffer($0 + [Float](repeating: 0, count: padded - count)) }
        let out = Buffer([Float](repeating: 0, count: padded))
        let kernels = level.makeKernels().f32
        var start = 0
        while start < padded {
            let size = min(1024, padded - start)
            body(
                kernels, buffers.map { UnsafeRawPointer($0.memory.baseAddress! + start) },
                UnsafeMutableRawPointer(out.memory.baseAddress! + start), size)
            start += size
        }
        return Array(out.values[..<count])
    }

    /// Distance from the true value in units of the result's last place.
    private func ulps(_ value: Float, _ truth: Double) -> Double {
        if value.isNaN && truth.isNaN { return 0 }
        let rounded = Float(truth)
        if value == rounded { return 0 }
        if value.isInfinite || rounded.isInfinite || value.isNaN || truth.isNaN { return .infinity }
        return abs(Double(value) - truth) / Double(max(rounded.magnitude, .leastNormalMagnitude).ulp)
    }

    private func check(
        _ name: String, bound: Double, _ inputs: [Float], truth: (Double) -> Double,
        _ run: (InstructionSet) -> [Float]
    ) {
        var reference: [UInt32]?
        for level in levels {
            let results = run(level)
            var worst = (ulps: 0.0, at: Float(0))
            for (x, value) in zip(inputs, results) {
                let error = ulps(value, truth(Double(x)))
                if error > worst.ulps { worst = (error, x) }
            }
            XCTAssertLessThanOrEqual(worst.ulps, bound, "\(name) at \(level.name), x = \(worst.at)")
            print("\(name) at \(level.name): worst error \(worst.ulps) ulp, at \(worst.at)")
            let bits = results.map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern }
            XCTAssertEqual(bits, reference ?? bits, "\(name): \(level.name) has other bits")
            reference = bits
        }
    }

    /// −log p, where the clamp at 100 does not reach it.
    func testLog() {
        let inputs = Self.patterns.map { $0.magnitude }.filter { $0 > 0 && $0 <= 1 }
        let ones = [Float](repeating: 1, count: inputs.count)
        check("log", bound: 1, inputs, truth: { min(100, -log($0)) }) { level in
            apply(level, [inputs, ones]) { k, x, out, n in k.bce_log(x[0], x[1], out, n) }
        }
    }

    func testLog1p() {
        let inputs = Self.patterns.map { $0.magnitude }.filter { $0 <= 1 }
        let zeros = [Float](repeating: 0, count: inputs.count)
        // One logarithm (1 ulp) and the rounding that is given back to first order.
        check("log1p", bound: 2, inputs, truth: { min(100, -log1p(-$0)) }) { level in
            apply(level, [inputs, zeros]) { k, x, out, n in k.bce_log1p(x[0], x[1], out, n) }
        }
    }

    func testSigmoid() {
        let inputs = Self.patterns
        // exp (1 ulp), a sum, a quotient and a product, half an ulp each.
        check("sigmoid", bound: 3, inputs, truth: { 1 / (1 + exp(-$0)) }) { level in
            apply(level, [inputs]) { k, x, out, n in k.sigmoid(x[0], out, n) }
        }
    }

    func testSoftplus() {
        let inputs = Self.patterns.filter { $0.isFinite }
        let zeros = [Float](repeating: 0, count: inputs.count)
        check("softplus", bound: 3, inputs, truth: { max($0, 0) + log1p(exp(-abs($0))) }) { level in
            apply(level, [inputs, zeros]) { k, x, out, n in k.bce_logits(x[0], x[1], 1, out, n) }
        }
    }

    /// float64's own functions, against the C library within its and ours: 1e-15 relative is 4.5 ulp.
    func testDouble() {
        var random = Random(3)
        let x = (0..<4096).map { _ in (random.uniform() - 0.5) * pow(10, random.uniform() * 5 - 2) }
        let p = (0..<4096).map { _ in pow(random.uniform(), 20) }
        for level in levels {
            let k = level.makeKernels().f64
            let out = Buffer([Double](repeating: 0, count: 4096))
            let ones = Buffer([Double](repeating: 1, count: 1024))
            let xs = Buffer(x)
            let ps = Buffer(p)
            for start in stride(from: 0, to: 4096, by: 1024) {
                k.sigmoid(xs.memory.baseAddress! + start, out.memory.baseAddress! + start, 1024)
            }
            for (x, value) in zip(x, out.values) {
                XCTAssertEqual(value, 1 / (1 + exp(-x)), accuracy: 1e-15 * (1 / (1 + exp(-x))))
            }
            for start in stride(from: 0, to: 4096, by: 1024) {
                k.bce_log(
                    ps.memory.baseAddress! + start, ones.memory.baseAddress!, out.memory.baseAddress! + start, 1024)
            }
            for (p, value) in zip(p, out.values) {
                XCTAssertEqual(value, min(100, -log(p)), accuracy: 1e-15 * max(1e-3, -log(p)), "log \(p)")
            }
        }
    }
}
