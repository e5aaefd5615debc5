import CLosses
import LossCore

private func term(_ pointer: UnsafePointer<segloss_balance_options>?) throws(LossError) -> Balance {
    let o = try options("options", pointer, segloss_balance_options_default())
    return try Balance(
        main: mainLoss(o.main_loss), isBalanced: flag("balance_loss", o.balance_loss), ratio: o.negative_ratio,
        eps: o.eps, crossEntropy: crossEntropy(o.bce_form),
        truncatesWeights: flag("truncate_weights", o.truncate_weights),
        fallbackNegatives: Int(o.fallback_negative_num), isClean: flag("clean", o.clean))
}

func mainLoss(_ value: Int32) throws(LossError) -> Balance.Main {
    guard let main = Balance.Main(rawValue: value) else {
        throw LossError(.option, "main_loss: expected 0 to 5, got \(value)")
    }
    return main
}

private func crossEntropy(_ value: Int32) throws(LossError) -> Balance.CrossEntropy {
    guard let form = Balance.CrossEntropy(rawValue: value) else {
        throw LossError(.option, "bce_form: expected 0 to 2, got \(value)")
    }
    return form
}

private func loss(
    _ pred: UnsafePointer<segloss_tensor>?, _ gt: UnsafePointer<segloss_tensor>?,
    _ mask: UnsafePointer<segloss_tensor>?, _ options: UnsafePointer<segloss_balance_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> BalanceLoss {
    try BalanceLoss(
        term(options), pred: tensor("pred", pred), gt: tensor("gt", gt), mask: tensor("mask", mask), execution(run))
}

private func map(
    _ pred: UnsafePointer<segloss_tensor>?, _ gt: UnsafePointer<segloss_tensor>?,
    _ mask: UnsafePointer<segloss_tensor>?, _ options: UnsafePointer<segloss_balance_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> BalanceMap {
    try BalanceMap(
        term(options), pred: tensor("pred", pred), gt: tensor("gt", gt), mask: optionalTensor("mask", mask),
        execution(run))
}

private func write(_ parts: Balance.Parts, to out: UnsafeMutablePointer<segloss_balance_parts>?) {
    write(
        segloss_balance_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, origin: parts.origin, positives: parts.positives,
            negatives: parts.negatives), to: out)
}

@_cdecl("segloss_balance") @implementation
public func segloss_balance(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_balance_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_balance_parts>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(pred, gt, mask, options, execution), parts, grad_output, ("grad_pred", grad_pred), write)
    }
}

@_cdecl("segloss_balance_statistics") @implementation
public func segloss_balance_statistics(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_balance_options>!,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(pred, gt, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_balance_finish") @implementation
public func segloss_balance_finish(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_balance_options>!,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_balance_parts>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(pred, gt, mask, options, execution), statistics, length, parts, grad_output, ("grad_pred", grad_pred),
            write)
    }
}

@_cdecl("segloss_balance_map") @implementation
public func segloss_balance_map(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_balance_options>!,
    _ out: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try map(pred, gt, mask, options, execution).value(to: tensor("out", out))
    }
}

@_cdecl("segloss_balance_map_backward") @implementation
public func segloss_balance_map_backward(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_balance_options>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try map(pred, gt, mask, options, execution).backward(
            gradOutput: tensor("grad_output", grad_output), to: tensor("grad_pred", grad_pred))
    }
}

extension Entry {
    static let balance = Entry("balance", gradients: ["grad_pred"], constants: 2) { (t, o, e, run) throws(LossError) in
        try run(loss(t[0], t[1], t[2], o.bound(), e), write)
    }

    static let balanceMap = Entry(
        "balance_map", gradients: ["grad_pred"], constants: 2
    ) { (t, o, e, run) throws(LossError) in
        let map = try map(t[0], t[1], t[2], o.bound(), e)
        let pred = try tensor("pred", t[0])
        return try run.items(pred.shape, true, like: pred) { (gradOutput, value, gradients) throws(LossError) in
            try map.check(out: value, gradOutput: gradOutput, gradient: gradients[0])
            if let value { try map.value(to: value) }
            if let gradOutput, let gradient = gradients[0] { try map.backward(gradOutput: gradOutput, to: gradient) }
        }
    }
}
