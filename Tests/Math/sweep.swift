// The kernels' elementary functions over all 2^32 float32 numbers, and their float64 forms over a sample.
//
//   sweep [STEP]       every function against the C library's in float64: the largest error and where
//   sweep hash [STEP]  a hash of each function's results, which every instruction set has to give alike
//   sweep exact STEP N what each instruction set has to get exactly: conversions, N fused multiply-adds of either type
//   sweep float64 N    N inputs and results of each function in float64 on standard output, for float64.py
//
// STEP takes every STEP-th number alone, and the neighbourhoods of special ones; after it may come the names of the functions
// that are wanted. Compiled with the sources of the kernels, once for each instruction set: `make soak-math`.
//
// The reference has 29 bits more than float32 and errs by a few of its own last bits, so the distance of a result from the
// truth is known to 1e-7 ulp. Whether a result is the nearest float32 can hang on less than that, where the truth lies
// that near to the middle of two: those are decided in extended precision, where the platform has it.
import Glibc

typealias In = UnsafeRawPointer
typealias Out = UnsafeMutableRawPointer
typealias Sums = UnsafeMutablePointer<Double>
typealias Planes = UnsafePointer<UnsafeRawPointer>

#if arch(x86_64)
    typealias Extended = Float80
#else
    typealias Extended = Double
#endif

/// One function of the kernels in both compute types, and what is promised of it.
struct Function {
    let name: String
    /// In ulp of the truth; where that is below the smallest normal number, in units of the smallest of all.
    let bound: Double
    var subnormalBound = 1.0
    /// What the bound is multiplied by, where the error follows the function's argument.
    var growth: (Double) -> Double = { _ in 1 }
    let domain: (Double) -> Bool
    let f32: (In, Out, Int) -> Void
    let f64: (In, Out, Int) -> Void
    let truth: (Double) -> Double
    let extended: (Extended) -> Extended
}

func body32(_ f: @escaping (V32) -> V32) -> (In, Out, Int) -> Void {
    { x, out, n in map(out, n) { f(V32.load(x, $0)) } }
}
func body64(_ f: @escaping (V64) -> V64) -> (In, Out, Int) -> Void {
    { x, out, n in map(out, n) { f(V64.load(x, $0)) } }
}

let ones32 = constant(Float(1))
let zeros = constant(0.0)
let ones64 = constant(1.0)
func constant<T>(_ value: T) -> In {
    let memory = UnsafeMutablePointer<T>.allocate(capacity: 8192)
    memory.initialize(repeating: value, count: 8192)
    return In(memory)
}

/// u^gamma, out of the focal loss of a target 0 whose cross-entropy is 1.
func power(_ gamma: Double) -> Function {
    Function(
        // log, a product and exp: what log and product round is multiplied by |log u^gamma| in the exponent.
        name: "u^\(gamma)", bound: 2, growth: { 1 + abs(gamma * log(max($0, 0x1p-1022))) },
        domain: { $0 >= 0 && $0 <= 1 && $0.sign == .plus },
        f32: { x, out, n in focal(V32.self, x, zeros, ones32, 1, 1, gamma, out, n) },
        f64: { x, out, n in focal(V64.self, x, zeros, ones64, 1, 1, gamma, out, n) },
        truth: { pow($0, gamma) }, extended: { pow($0, Extended(gamma)) })
}

let functions: [Function] = [
    Function(
        name: "exp", bound: 1, subnormalBound: 2, domain: { _ in true },
        f32: body32 { $0.exp() }, f64: body64 { $0.exp() }, truth: { exp($0) }, extended: { exp($0) }),
    Function(
        name: "expOfNegative", bound: 1, subnormalBound: 2, domain: { $0 <= 0 || $0.isNaN },
        f32: body32 { $0.expOfNegative() }, f64: body64 { $0.expOfNegative() }, truth: { exp($0) },
        extended: { exp($0) }),
    Function(
        name: "log", bound: 1, domain: { _ in true },
        f32: body32 { $0.log() }, f64: body64 { $0.log() }, truth: { log($0) }, extended: { log($0) }),
    Function(
        name: "log1p", bound: 2, domain: { abs($0) <= 1 },
        f32: body32 { V32.log1p($0) }, f64: body64 { V64.log1p($0) }, truth: { log1p($0) }, extended: { log1p($0) }),
    Function(
        name: "log1p(fraction:)", bound: 2, domain: { $0 >= 0 && $0 <= 1 },
        f32: body32 { V32.log1p(fraction: $0) }, f64: body64 { V64.log1p(fraction: $0) },
        truth: { log1p($0) }, extended: { log1p($0) }),
    Function(
        name: "logOnePlus", bound: 2, domain: { $0 >= 0 },
        f32: body32 { V32.logOnePlus($0) }, f64: body64 { V64.logOnePlus($0) }, truth: { log1p($0) },
        extended: { log1p($0) }),
    Function(
        name: "oneMinusExp", bound: 2, domain: { $0 <= 0 },
        f32: body32 { $0.oneMinusExp() }, f64: body64 { $0.oneMinusExp() }, truth: { -expm1($0) },
        extended: { -expm1($0) }),
    Function(
        name: "squareRoot.root", bound: 1, domain: { $0 >= 0x1p-125 },
        f32: body32 { $0.squareRoot().root }, f64: body64 { $0.squareRoot().root },
        truth: { $0.squareRoot() }, extended: { $0.squareRoot() }),
    Function(
        name: "squareRoot.inverse", bound: 2, domain: { $0 >= 0x1p-125 },
        f32: body32 { $0.squareRoot().inverse }, f64: body64 { $0.squareRoot().inverse },
        truth: { 1 / $0.squareRoot() }, extended: { 1 / $0.squareRoot() }),
    Function(
        name: "sigmoid.value", bound: 3, subnormalBound: 2, domain: { _ in true },
        f32: body32 { $0.sigmoid().value }, f64: body64 { $0.sigmoid().value },
        truth: { 1 / (1 + exp(-$0)) }, extended: { 1 / (1 + exp(-$0)) }),
    Function(
        name: "sigmoid.complement", bound: 3, subnormalBound: 2, domain: { _ in true },
        f32: body32 { $0.sigmoid().complement }, f64: body64 { $0.sigmoid().complement },
        truth: { 1 / (1 + exp($0)) }, extended: { 1 / (1 + exp($0)) }),
    Function(
        // −∞ is NaN as in PyTorch.
        name: "softplus", bound: 3, subnormalBound: 2, domain: { $0 != -.infinity },
        f32: body32 { crossEntropy($0, V32(0), V32(1)) }, f64: body64 { crossEntropy($0, V64(0), V64(1)) },
        truth: { ($0 > 0 ? $0 : $0 * 0) + log1p(exp(-abs($0))) },
        extended: { ($0 > 0 ? $0 : $0 * 0) + log1p(exp(-abs($0))) }),
    Function(
        // What BCE makes of probabilities of which the target is 0, in PyTorch's form.
        name: "min(100, -log1p(-p))", bound: 2, domain: { $0 >= 0 && $0 <= 1 },
        f32: { x, out, n in bce(V32.self, x, zeros, out, n, log1p: true) },
        f64: { x, out, n in bce(V64.self, x, zeros, out, n, log1p: true) },
        truth: { min(100, -log1p(-$0)) }, extended: { min(100, -log1p(-$0)) }),
    power(0.75), power(3),
]

// ---------------------------------------------------------------- float32

let block = 8192
let x32 = UnsafeMutablePointer<Float>.allocate(capacity: block)
let y32 = UnsafeMutablePointer<Float>.allocate(capacity: block)

/// Where functions are cut, change or end; both signs of each.
let marks: [Double] = [
    0, 1, 0.5, 2, 0.5.squareRoot(), 2.0.squareRoot(), log(2) / 2, log(2), 1.0 / 3, 16.635, 17.33, 36.7, 37.4, 88.72,
    87.33,
    103.97, 709.78, 708.4, 745.13, 0x1p-24, 0x1p-53, 0x1p-126, 0x1p-149, .leastNormalMagnitude, .leastNonzeroMagnitude,
    Double(Float.greatestFiniteMagnitude), .greatestFiniteMagnitude, .infinity, .nan,
]

/// Calls `body` with each block of inputs and what `apply` makes of them: every step-th bit pattern in order, and of a sample
/// 4096 around each mark as well.
func eachBlock(_ step: Int, _ apply: (In, Out, Int) -> Void, _ body: (Int) -> Void) {
    func run(_ range: Range<Int>, _ step: Int) {
        for start in stride(from: range.lowerBound, to: range.upperBound, by: block * step) {
            for i in 0..<block {
                x32[i] = Float(bitPattern: UInt32(truncatingIfNeeded: min(start + i * step, range.upperBound - 1)))
            }
            apply(x32, y32, block)
            body(min(block, (range.upperBound - start + step - 1) / step))
        }
    }
    run(0..<1 << 32, step)
    if step == 1 { return }
    for mark in marks {
        for sign in [0, 1 << 31] {
            // Below 0 they wrap around, to the largest of the other sign.
            let bits = Int(Float(mark).bitPattern) | sign
            run(bits - 2048..<bits + 2048, 1)
        }
    }
}

/// How much of a unit in the last place of a float32 near `truth` 1 is.
@inline(__always) func units(_ truth: Double) -> Double {
    let exponent = max(Int(truth.bitPattern >> 52 & 0x7FF), 1023 - 126)
    return Double(bitPattern: UInt64(1023 + 23 + 1023 - exponent) << 52)
}

func measure(_ f: Function, _ step: Int) -> Bool {
    var worst = (error: 0.0, at: Float(0))
    var worstSubnormal = (error: 0.0, at: Float(0))
    var count = 0
    var nearest = 0
    var decided = 0
    eachBlock(step, f.f32) { n in
        for i in 0..<n {
            let x = Double(x32[i])
            guard f.domain(x) else { continue }
            count += 1
            let value = y32[i]
            let truth = f.truth(x)
            // The same infinity, two NaN, or both beyond the largest number.
            if Double(value) == truth || value.isNaN && truth.isNaN
                || value.isInfinite && Double(value) == Double(Float(truth))
            {
                nearest += 1
                continue
            }
            var error = abs(Double(value) - truth) * units(truth)
            if error.isNaN { error = .infinity }
            if abs(error - 0.5) < 1e-6 {
                decided += 1
                if abs(Extended(value) - f.extended(Extended(x))) * Extended(units(truth)) <= 0.5 { nearest += 1 }
            } else if error < 0.5 {
                nearest += 1
            }
            error /= f.growth(x)
            if abs(truth) < 0x1p-126 {
                if error > worstSubnormal.error { worstSubnormal = (error, x32[i]) }
            } else if error > worst.error {
                worst = (error, x32[i])
            }
        }
    }
    let holds = worst.error <= f.bound && worstSubnormal.error <= f.subnormalBound
    let share = 100 * Double(nearest) / Double(count)
    print(
        "\(f.name): \(worst.error) ulp at \(worst.at), bound \(f.bound); subnormal results \(worstSubnormal.error) at",
        "\(worstSubnormal.at), bound \(f.subnormalBound); \(share) % of \(count) are the nearest float32",
        "(\(decided) decided in extended precision)\(holds ? "" : "  EXCEEDS ITS BOUND")")
    fflush(stdout)
    return holds
}

func hash(_ f: Function, _ step: Int) {
    var h: UInt64 = 0xCBF2_9CE4_8422_2325
    eachBlock(step, f.f32) { n in
        for i in 0..<n where f.domain(Double(x32[i])) {
            h = (h ^ UInt64(y32[i].isNaN ? 0x7FC0_0000 : y32[i].bitPattern)) &* 0x0000_0100_0000_01B3
        }
    }
    print("\(f.name) \(String(h, radix: 16))")
    fflush(stdout)
}

// ---------------------------------------------------------------- float16 and bfloat16

/// What a number of so many bits is, by the definition of the format.
func defined(_ bits: Int, _ exponentBits: Int, _ fractionBits: Int) -> Double {
    let bias = (1 << (exponentBits - 1)) - 1
    let exponent = bits >> fractionBits & ((1 << exponentBits) - 1)
    let fraction = Double(bits & ((1 << fractionBits) - 1)) / Double(1 << fractionBits)
    let sign = bits >> 15 == 0 ? 1.0 : -1.0
    if exponent == (1 << exponentBits) - 1 { return fraction == 0 ? sign * .infinity : .nan }
    return sign * (exponent == 0 ? scalbn(fraction, 1 - bias) : scalbn(1 + fraction, exponent - bias))
}

/// The nearest of them, ties to even.
func nearest(_ x: Double, _ exponentBits: Int, _ fractionBits: Int) -> Double {
    let bias = (1 << (exponentBits - 1)) - 1
    if x.isNaN || x.isInfinite || x == 0 { return x }
    let unit = max(Int(x.exponent), 1 - bias) - fractionBits
    let rounded = scalbn(scalbn(x, -unit).rounded(.toNearestOrEven), unit)
    return abs(rounded) >= scalbn(1, bias + 1) ? (x < 0 ? -.infinity : .infinity) : rounded
}

func same(_ a: Double, _ b: Double) -> Bool { a.isNaN ? b.isNaN : a.bitPattern == b.bitPattern }

func conversions<S: Stored & Narrowed>(_: S.Type, _ name: String, _ exponentBits: Int, _ fractionBits: Int, _ step: Int)
    -> Bool
{
    var wrong = 0
    let all = (0..<(1 << 16)).map { UInt16($0) }
    var wide = [Float](repeating: 0, count: all.count)
    var wider = [Double](repeating: 0, count: all.count)
    all.withUnsafeBytes { widenToF32(S.self, $0.baseAddress!, 1, &wide, all.count) }
    all.withUnsafeBytes { widenToF64(S.self, $0.baseAddress!, 1, &wider, all.count) }
    for i in all.indices {
        let truth = defined(i, exponentBits, fractionBits)
        if !same(Double(wide[i]), truth) || !same(wider[i], truth) { wrong += 1 }
    }
    var narrow = [UInt16](repeating: 0, count: block)
    eachBlock(step, { _, _, _ in }) { n in
        narrowF32(S.self, x32, &narrow, 1, n)
        for i in 0..<n where !same(wider[Int(narrow[i])], nearest(Double(x32[i]), exponentBits, fractionBits)) {
            wrong += 1
        }
    }
    print(
        "\(name): \(wrong) of \(all.count) widened and \((1 << 32) / step) float32 narrowed are not what the format defines"
    )
    fflush(stdout)
    return wrong == 0
}

// ---------------------------------------------------------------- float64

/// SplitMix64.
var state: UInt64 = 20_240_607
func draw() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
}

/// Every binade alike, those around 1 and the range of exp more often, and the neighbourhoods of the marks.
func sample(_ count: Int) -> [Double] {
    return (0..<count).map { i in
        let r = draw()
        switch i % 4 {
        case 0: return Double(bitPattern: r)
        case 1: return Double(bitPattern: r & 0x800F_FFFF_FFFF_FFFF | (1023 - 40 + draw() % 50) << 52)
        case 2: return (Double(r >> 11) * 0x1p-53 - 0.5) * (r & 1 == 0 ? 2 : 1500)
        default:
            let mark = marks[Int(r % UInt64(marks.count))]
            let near = Double(bitPattern: mark.bitPattern &+ (draw() % 9) &- 4)
            return draw() & 1 == 0 ? near : -near
        }
    }
}

/// Name, inputs and results, one after the other: a line of text, then 2·N numbers.
func samples(_ count: Int) {
    for f in functions {
        let x = sample(8 * count).filter(f.domain).prefix(count / 32 * 32)
        let inputs = Array(x)[..<(x.count / 32 * 32)]
        var results = [Double](repeating: 0, count: inputs.count)
        Array(inputs).withUnsafeBytes { raw in
            var i = 0
            while i < inputs.count {
                let n = min(block, inputs.count - i)
                results.withUnsafeMutableBytes { f.f64(raw.baseAddress! + 8 * i, $0.baseAddress! + 8 * i, n) }
                i += n
            }
        }
        print("\(f.name)|\(inputs.count)")
        fflush(stdout)
        for values in [Array(inputs), results] { fwrite(values, 8, values.count, stdout) }
        fflush(stdout)
    }
}

// ---------------------------------------------------------------- fused multiply-add

/// A sum and two factors, of one kind for sixteen lanes: any bits; sums that reach from far above the product to far below;
/// products in the middle of two numbers, which a small sum decides; sums that leave a product's last bits; and products at
/// either end of where what they lack is a number too.
func triple<T: BinaryFloatingPoint>(_: T.Type, _ i: Int) -> (T, T, T) {
    func number(_ bits: Int, _ exponents: Range<Int>) -> T {
        let significand = T(draw() >> UInt64(64 - bits) | 1 | 1 << UInt64(bits - 1))
        let exponent = exponents.lowerBound + Int(draw() % UInt64(exponents.count)) - bits
        return T(sign: draw() & 1 == 0 ? .plus : .minus, exponent: T.Exponent(exponent), significand: significand)
    }
    let digits = T.significandBitCount + 1
    let a = number(digits, -2..<3)
    let b = number(digits, -2..<3)
    switch i / 16 % 5 {
    case 0:
        func any() -> T {
            let bits = draw()
            return T.self == Float.self ? T(Float(bitPattern: UInt32(bits >> 32))) : T(Double(bitPattern: bits))
        }
        return (any(), any(), any())
    case 1: return (number(digits, -3 * digits..<2 * digits), a, b)
    case 2:
        let half = digits / 2
        return (draw() % 4 == 0 ? 0 : number(2, -100..<0), number(half, -40..<40), number(digits + 1 - half, -40..<40))
    case 3: return (-(a * b) + T(Int(draw() % 5) - 2) * (a * b).ulp, a, b)
    default:
        let end = draw() & 1 == 0 ? -900 : 900
        let root = end / 2
        return (
            number(digits, end - 60..<end + 20), number(digits, root - 2..<root + 2), number(digits, root..<root + 2)
        )
    }
}

func fused<T: BinaryFloatingPoint & BitwiseCopyable>(
    _: T.Type, _ name: String, _ count: Int, _ all: (In, In, In, Out) -> Void, _ one: (T, T, T) -> T
) -> Bool {
    var wrong = 0
    var sums = [T](repeating: 0, count: block)
    var (a, b, results) = (sums, sums, sums)
    for start in stride(from: 0, to: count, by: block) {
        for i in 0..<block { (sums[i], a[i], b[i]) = triple(T.self, start + i) }
        results.withUnsafeMutableBytes { all(sums, a, b, $0.baseAddress!) }
        for i in 0..<block where !same(Double(results[i]), Double(one(sums[i], a[i], b[i]))) {
            if wrong < 5 { print(sums[i], a[i], b[i], results[i]) }
            wrong += 1
        }
    }
    print("\(name) fused multiply-add: \(wrong) of \(count) are not the C library's")
    fflush(stdout)
    return wrong == 0
}

func isExact(_ step: Int, _ count: Int) -> Bool {
    let singles = fused(
        Float.self, "float32", count,
        { sum, a, b, out in map(out, block) { V32.load(sum, $0).fma(V32.load(a, $0), V32.load(b, $0)) } },
        { Glibc.fmaf($1, $2, $0) })
    let doubles = fused(
        Double.self, "float64", count,
        { sum, a, b, out in map(out, block) { V64.load(sum, $0).fma(V64.load(a, $0), V64.load(b, $0)) } },
        { Glibc.fma($1, $2, $0) })
    let halves = conversions(F16.self, "float16", 5, 10, step)
    let brains = conversions(BF16.self, "bfloat16", 8, 7, step)
    return singles && doubles && halves && brains
}

// ---------------------------------------------------------------- the command

@main enum Sweep {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.first == "float64" { return samples(Int(arguments.last!)!) }
        if arguments.first == "exact" {
            exit(isExact(Int(arguments.dropFirst().first!)!, Int(arguments.last!)!) ? 0 : 1)
        }
        let isHash = arguments.first == "hash"
        let rest = Array(arguments.dropFirst(isHash ? 1 : 0))
        let step = rest.first.map { Int($0)! } ?? 1
        let names = rest.dropFirst()
        var holds = true
        for f in functions where names.isEmpty || names.contains(f.name) {
            if isHash { hash(f, step) } else if !measure(f, step) { holds = false }
        }
        exit(holds ? 0 : 1)
    }
}
