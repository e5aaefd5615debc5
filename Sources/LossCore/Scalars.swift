import KernelTable

// The few elementary functions of losses' scalars: the same bits on every machine, like the kernels'.

/// −∞ at 0, NaN below.
func logarithm(_ x: Double) -> Double { Dispatch.current.kernels.pointee.log(x) }

func exponential(_ x: Double) -> Double { Dispatch.current.kernels.pointee.exp(x) }

/// 1 − e^−x for x ≥ 0, with the digits that a small x has.
func oneMinusExponential(_ x: Double) -> Double {
    // The series' next term is below 2^-53 of the result.
    x < 1e-4 ? x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4))) : 1 - exponential(-x)
}

/// x^y for x ≥ 0.
func power(_ x: Double, _ y: Double) -> Double {
    if y == 0 { return 1 }
    if y == 1 { return x }
    if y == 2 { return x * x }
    if x == 0 { return y > 0 ? 0 : .infinity }
    return exponential(y * logarithm(x))
}
