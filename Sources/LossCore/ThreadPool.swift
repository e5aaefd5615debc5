import CSystem
import KernelTable

/// Runs `task(context, 0) … task(context, count − 1)`, in any order, on any threads, and returns when all are done.
public typealias Task = @convention(c) (_ context: UnsafeMutableRawPointer?, _ index: Int32) -> Void

/// A host's own team that runs the tasks instead of the pool.
public typealias Runner =
    @convention(c) (
        _ runnerContext: UnsafeMutableRawPointer?, _ count: Int32, _ task: Task?, _ context: UnsafeMutableRawPointer?
    ) -> Void

/// OpenMP's way into a team: `body(data)` on each of so many threads.
public typealias OpenMP =
    @convention(c) (
        _ body: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?, _ data: UnsafeMutableRawPointer?,
        _ threads: UInt32,
        _ flags: UInt32
    ) -> Void

/// Who computes: the calling thread, this pool's workers, or a team of the host's.
///
/// The pool is lazy and serves one caller at a time. The caller takes tasks itself, so it never waits for a worker
/// to wake up; a second caller meanwhile does its own work alone. `fork` leaves the child without workers, and it
/// starts its own when it needs them. Everything is under one mutex: a call has few tasks.
public enum Threads {
    /// Threads of a call that does not say how many.
    public static var count: Int {
        get {
            let chosen = Int(csystem_load(&setting))
            return chosen > 0 ? chosen : defaultCount
        }
        set { csystem_store(&setting, Int64(max(0, min(newValue, maximum)))) }
    }

    /// More threads than this gain nothing and cost scratch.
    public static let maximum = 256

    public static func setRunner(_ runner: Runner?, context: UnsafeMutableRawPointer?, threads: Int) {
        guard let runner else { return setTeam(Team()) }
        setTeam(Team(runner: runner, context: context, threads: max(1, min(threads, maximum))))
    }

    public static func setOpenMP(_ parallel: OpenMP?, maxThreads: (@convention(c) () -> Int32)?) {
        guard let parallel else { return setTeam(Team()) }
        let context = unsafeBitCast(parallel, to: UnsafeMutableRawPointer.self)
        setTeam(Team(runner: openMPRunner, context: context, size: maxThreads, staysBehind: true))
    }

    private static func setTeam(_ team: Team) {
        pthread_mutex_lock(&pool.pointee.runnerMutex)
        pool.pointee.team = team
        pthread_mutex_unlock(&pool.pointee.runnerMutex)
    }

    private static var team: Team {
        pthread_mutex_lock(&pool.pointee.runnerMutex)
        defer { pthread_mutex_unlock(&pool.pointee.runnerMutex) }
        return pool.pointee.team
    }

    /// Ends the workers; the next call that wants them starts new ones.
    public static func shutdown() {
        let cancel = csystem_hold_cancel()
        defer { csystem_let_cancel(cancel) }
        pthread_mutex_lock(&pool.pointee.submit)
        pthread_mutex_lock(&pool.pointee.mutex)
        pool.pointee.stopping = true
        pthread_cond_broadcast(&pool.pointee.wake)
        pthread_mutex_unlock(&pool.pointee.mutex)
        for i in 0..<pool.pointee.workers { pthread_join(pool.pointee.threads[i], nil) }
        pool.pointee.workers = 0
        pool.pointee.stopping = false
        pthread_mutex_unlock(&pool.pointee.submit)
        KeptMemory.release()
    }

    /// Runs `count` tasks.
    static func run(_ count: Int, _ task: Task, _ context: UnsafeMutableRawPointer?) {
        if count > 1 {
            let cancel = csystem_hold_cancel()
            defer { csystem_let_cancel(cancel) }
            let team = team
            if let runner = team.runner { return runner(team.context, Int32(count), task, context) }
            if pthread_mutex_trylock(&pool.pointee.submit) == 0 {
                runOnPool(count, task, context)
                pthread_mutex_unlock(&pool.pointee.submit)
                return
            }
        }
        for i in 0..<count { task(context, Int32(i)) }
    }

    /// Runs tasks on OpenMP's team, whose way in is the context. It may have fewer threads than were asked for: each takes what
    /// is left.
    private static let openMPRunner: Runner = { parallel, count, task, context in
        struct Tasks {
            let task: Task
            let context: UnsafeMutableRawPointer?
            let count: Int64
            var next: Int64 = 0
        }
        guard let task else { return }
        var tasks = Tasks(task: task, context: context, count: Int64(count))
        withUnsafeMutablePointer(to: &tasks) { tasks in
            unsafeBitCast(parallel, to: OpenMP.self)(
                { data in
                    let tasks = data.unsafelyUnwrapped.assumingMemoryBound(to: Tasks.self)
                    while case let index = csystem_add(&tasks.pointee.next, 1), index < tasks.pointee.count {
                        tasks.pointee.task(tasks.pointee.context, Int32(index))
                    }
                }, tasks, UInt32(count), 0)
        }
    }

    private static func runOnPool(_ count: Int, _ task: Task, _ context: UnsafeMutableRawPointer?) {
        let p = pool
        startWorkers(count - 1)
        pthread_mutex_lock(&p.pointee.mutex)
        p.pointee.task = task
        p.pointee.context = context
        p.pointee.next = 0
        p.pointee.count = count
        csystem_store(&p.pointee.pending, Int64(count))
        csystem_add(&p.pointee.generation, 1)
        pthread_cond_broadcast(&p.pointee.wake)
        takeTasks()
        pthread_mutex_unlock(&p.pointee.mutex)
        // Others finish what they took: soon, so look for a while before sleeping.
        spin { csystem_load(&p.pointee.pending) == 0 }
        pthread_mutex_lock(&p.pointee.mutex)
        while csystem_load(&p.pointee.pending) > 0 { pthread_cond_wait(&p.pointee.done, &p.pointee.mutex) }
        pthread_mutex_unlock(&p.pointee.mutex)
    }

    /// Runs tasks until none is left. Called, and returns, with the mutex held.
    private static func takeTasks() {
        let p = pool
        while p.pointee.next < p.pointee.count, let task = p.pointee.task {
            let index = p.pointee.next
            p.pointee.next += 1
            let context = p.pointee.context
            pthread_mutex_unlock(&p.pointee.mutex)
            task(context, Int32(index))
            pthread_mutex_lock(&p.pointee.mutex)
            if csystem_add(&p.pointee.pending, -1) == 1 { pthread_cond_signal(&p.pointee.done) }
        }
    }

    private static func work() {
        let p = pool
        pthread_mutex_lock(&p.pointee.mutex)
        while !p.pointee.stopping {
            takeTasks()
            let seen = csystem_load(&p.pointee.generation)
            pthread_mutex_unlock(&p.pointee.mutex)
            spin { csystem_load(&p.pointee.generation) != seen }
            pthread_mutex_lock(&p.pointee.mutex)
            while csystem_load(&p.pointee.generation) == seen, !p.pointee.stopping {
                pthread_cond_wait(&p.pointee.wake, &p.pointee.mutex)
            }
        }
        pthread_mutex_unlock(&p.pointee.mutex)
    }

    /// About 20 µs: less than waking a sleeping thread takes, too little to steal a core from anybody.
    private static func spin(until ready: () -> Bool) {
        var turns = 0
        while turns < 500, !ready() {
            csystem_pause()
            turns += 1
        }
    }

    /// Called with `submit` held. A thread that cannot be had is done without.
    private static func startWorkers(_ wanted: Int) {
        let p = pool
        while p.pointee.workers < min(wanted, maximum) {
            guard
                csystem_thread_create(
                    &p.pointee.threads[p.pointee.workers],
                    { _ in
                        Threads.work()
                        return nil
                    }, nil) == 0
            else { return }
            p.pointee.workers += 1
        }
    }

    // MARK: State

    private struct Pool {
        var fork = pthread_mutex_t()  // Held while a thread forks.
        var submit = pthread_mutex_t()  // Held by the caller whose tasks the pool runs.
        var mutex = pthread_mutex_t()  // Guards what follows.
        var wake = pthread_cond_t()
        var done = pthread_cond_t()
        var threads: UnsafeMutablePointer<pthread_t>
        var workers = 0
        var stopping = false
        var generation: Int64 = 0
        var task: Task?
        var context: UnsafeMutableRawPointer?
        var next = 0
        var count = 0
        var pending: Int64 = 0
        var runnerMutex = pthread_mutex_t()
        var team = Team()
    }

    /// Threads of the host's.
    private struct Team {
        var runner: Runner?
        var context: UnsafeMutableRawPointer?
        var threads = maximum
        /// Says at every call how many; nil: `threads`.
        var size: (@convention(c) () -> Int32)?
        /// In the parent of a fork; waiting for it in the child would never end.
        var staysBehind = false
    }

    /// Has forks wait for calls.
    public static func watchForks() { _ = pool }

    static func waitForFork() {
        pthread_mutex_lock(&pool.pointee.fork)
        pthread_mutex_unlock(&pool.pointee.fork)
    }

    nonisolated(unsafe) private static var setting: Int64 = 0

    private static let defaultCount: Int = {
        if let value = getenv("SEGLOSS_NUM_THREADS"), case let number = atoi(value), number > 0 {
            return min(Int(number), maximum)
        }
        return min(Int(csystem_cpu_count()), maximum)
    }()

    /// Threads that a call may use, the host's team if one is set.
    static var available: Int {
        let team = team
        return min(team.size.map { max(1, Int($0())) } ?? team.threads, count)
    }

    nonisolated(unsafe) private static let pool: UnsafeMutablePointer<Pool> = {
        let pool = UnsafeMutablePointer<Pool>.allocate(capacity: 1)
        pool.initialize(to: Pool(threads: .allocate(capacity: maximum)))
        prepare(pool)
        // No call is in flight at the fork, and the child has the forking thread alone.
        pthread_atfork(
            {
                pthread_mutex_lock(&Threads.pool.pointee.fork)
                Calls.stop()
                pthread_mutex_lock(&Threads.pool.pointee.submit)
                pthread_mutex_lock(&Threads.pool.pointee.runnerMutex)
                pthread_mutex_lock(&Threads.pool.pointee.mutex)
            },
            {
                pthread_mutex_unlock(&Threads.pool.pointee.mutex)
                pthread_mutex_unlock(&Threads.pool.pointee.runnerMutex)
                pthread_mutex_unlock(&Threads.pool.pointee.submit)
                Calls.resume()
                pthread_mutex_unlock(&Threads.pool.pointee.fork)
            },
            {
                Threads.pool.pointee.workers = 0
                if Threads.pool.pointee.team.staysBehind { Threads.pool.pointee.team.runner = nil }
                Calls.reset()
                prepare(Threads.pool)
            })
        return pool
    }()

    private static func prepare(_ pool: UnsafeMutablePointer<Pool>) {
        pthread_mutex_init(&pool.pointee.fork, nil)
        pthread_mutex_init(&pool.pointee.submit, nil)
        pthread_mutex_init(&pool.pointee.mutex, nil)
        pthread_mutex_init(&pool.pointee.runnerMutex, nil)
        pthread_cond_init(&pool.pointee.wake, nil)
        pthread_cond_init(&pool.pointee.done, nil)
    }
}
