// A client of `ghostnote serve`. All that has a time goes as a bundle whose timetag is the logical
// time of the calling thread plus `latency`, as with scsynth: hits from a Routine or a Pbind come on
// the sample where they belong, however late the language woke up.

Ghostnote {
	classvar <>default;

	var <addr;
	var <>latency = 0.1;  // seconds ahead; nil sends at once
	var <>onFail, <>onDone, <>onLate;  // functions of (address, reason or results...)
	var <clientID, <maxClients, <followed;
	var lease, responders, waiting, watched, nextSync = 1000;

	*initClass {
		Class.initClassTree(Event);
		Event.addEventType(\ghost, {
			var ghost = ~ghost ? Ghostnote.default;
			if (ghost.isNil) { Error("(type: \\ghost) needs Ghostnote(...) first, or a key \\ghost").throw };
			[if (~role.isString) { ~role.asSymbol } { ~role }, ~velocity ? 0.8, ~voice].flop.do { |hit|
				ghost.prBundle((~timingOffset ? 0) + (~lag ? 0), [ghost.prHit(*hit)])
			};
		});
	}

	*new { |host = "127.0.0.1", port = 9770|
		var ghost = super.newCopyArgs(NetAddr(host.asString, port)).init;
		default = default ? ghost;
		^ghost
	}

	init {
		waiting = IdentityDictionary.new;
		watched = IdentityDictionary.new;
		onFail = { |address ... reason| "ghostnote: % refused: %".format(address, reason.join(" ")).warn };
		onLate = { |address, seconds|
			"ghostnote: % came % s late; make latency larger".format(address, seconds.round(0.001)).warn
		};
		responders = [
			this.prOn('/done', { |msg|
				if (msg[1] == '/ghost/notify') { clientID = msg[2]; maxClients = msg[3] };
				this.prAnswer(msg[1], msg[2..]);
				onDone.value(*msg[1..]);
			}),
			this.prOn('/fail', { |msg|
				this.prAnswer(msg[1], nil);
				onFail.value(*msg[1..]);
			}),
			this.prOn('/ghost/late', { |msg| onLate.value(*msg[1..]) }),
			this.prOn('/ghost/synced', { |msg| this.prAnswer(msg[1], []) }),
			this.prOn('/ghost/status.reply', { |msg| this.prAnswer('/ghost/status', msg[1..]) }),
			this.prOn('/ghost/version.reply', { |msg| this.prAnswer('/ghost/version', msg[1..]) }),
		];
	}

	// Hits. `role`: \kick, \snare, ... `velocity`: 0 to 1. `voice`: from 1; nil: all.

	trig { |role, velocity = 0.8, voice|
		this.prBundle(0, [this.prHit(role, velocity, voice)])
	}

	// Several at the same sample: ghost.chord([\kick, 1], [\hat, 0.4, 2])
	chord { |...hits|
		this.prBundle(0, hits.collect { |hit| this.prHit(*hit) })
	}

	// Any messages at one moment, `seconds` from now (and latency): ghost.at(0.5, ['/ghost/play'])
	at { |seconds ... messages|
		this.prBundle(seconds, messages)
	}

	send { |...message| addr.sendMsg(*message) }

	// Parameters. They act at once; in a bundle (`at`) they act at its time.

	voice { |address, values, voice|
		addr.sendMsg("/ghost/voice/%/%".format(voice ? "*", address), *values)
	}

	temperature { |value, voice| this.voice("temperature", [value], voice) }
	topk { |k, voice| this.voice("topk", [k.asInteger], voice) }
	seed { |number, voice| this.voice("seed", [number], voice) }
	kit { |nameOrNumber, voice| this.voice("kit", [nameOrNumber], voice) }
	weights { |weights, voice| this.voice("weights", weights, voice) }
	morph { |kitA, kitB, x, voice| this.voice("morph", [kitA, kitB, x], voice) }
	xy { |x, y, voice| this.voice("xy", [x, y], voice) }
	glide { |seconds, voice| this.voice("glide", [seconds], voice) }
	gain { |db, voice| this.voice("gain", [db], voice) }
	pan { |position, voice| this.voice("pan", [position], voice) }
	mute { |on = true, voice| this.voice("mute", [on.binaryValue], voice) }
	solo { |on = true, voice| this.voice("solo", [on.binaryValue], voice) }
	hold { |on = true, voice| this.voice("hold", [on.binaryValue], voice) }
	rewind { |voice| this.voice("rewind", [], voice) }
	reset { |voice| this.voice("reset", [], voice) }
	start { |voice| this.voice("play", [], voice) }
	fade { |voice| this.voice("stop", [], voice) }

	pattern { |role, steps, voice|
		addr.sendMsg("/ghost/pattern/%".format(voice ? "*"), role, steps)
	}

	// The transport: the server's own patterns.

	play { this.prBundle(0, [['/ghost/play']]) }
	stop { this.prBundle(0, [['/ghost/stop']]) }
	tempo_ { |bpm| addr.sendMsg('/ghost/tempo', bpm) }
	quantum_ { |beats| addr.sendMsg('/ghost/quantum', beats) }

	// Tempo and beat of the server follow a TempoClock: its tempo when it changes, its beat on every beat.
	follow { |clock|
		var told = { |theClock, what| if (what == \tempo) { this.prTell(clock) } };
		this.unfollow;
		clock = clock ? TempoClock.default;
		addr.sendMsg('/ghost/sync/source', "osc");
		followed = (clock: clock, told: told, routine: Routine {
			loop { this.prTell(clock); 1.wait }
		}.play(clock, 1));
		clock.addDependant(told);
	}

	unfollow {
		followed !? { followed.routine.stop; followed.clock.removeDependant(followed.told) };
		followed = nil;
	}

	// Questions and slow work. With an action it is called with the answer; without one the calling
	// Routine waits for it, five seconds at most. The answer is nil when the server
	// refused or kept silent.

	status { |action| ^this.ask('/ghost/status', [], action) }
	version { |action| ^this.ask('/ghost/version', [], action) }
	models { |action| ^this.ask('/ghost/model/list', [], action) }
	load { |name, voice, action| ^this.ask('/ghost/model/load', [name] ++ (voice ? []), action) }
	record { |path, action| ^this.ask('/ghost/record/start', [path], action) }
	recordEnd { |action| ^this.ask('/ghost/record/stop', [], action) }
	grab { |bars, action| ^this.ask('/ghost/record/grab', [bars], action) }

	// When all slow work asked for before is done.
	sync { |action|
		nextSync = nextSync + 1;
		^this.prAsk(nextSync, ['/ghost/sync', nextSync], action)
	}

	ask { |address, values, action|
		^this.prAsk(address.asSymbol, [address] ++ values, action)
	}

	get { |address, action|
		var answer = this.prOn(address.asSymbol, { |msg|
			answer.free;
			this.prAnswer(address.asSymbol, msg[1..]);
		});
		^this.prAsk(address.asSymbol, ['/ghost/get', address], action)
	}

	// What others change, and what the server does: ghost.watch('/ghost/tempo', { |bpm| ... }). The
	// server forgets who followed and stays silent for a minute, so it is told again every 20 s.

	notify { |on = true|
		lease !? { lease.stop };
		lease = nil;
		addr.sendMsg('/ghost/notify', on.binaryValue);
		if (on) {
			lease = SkipJack({ addr.sendMsg('/ghost/notify', 1) }, 20, name: \ghostnote);
		};
	}

	watch { |address, action|
		this.unwatch(address);
		watched[address.asSymbol] = this.prOn(address, { |msg| action.value(*msg[1..]) });
	}

	unwatch { |address|
		var old = watched.removeAt(address.asSymbol);
		if (old.notNil) { old.free };
	}

	free {
		this.unfollow;
		if (lease.notNil) { this.notify(false) };
		(responders ++ watched.values).do(_.free);
		if (default === this) { default = nil };
	}

	// Private.

	prHit { |role, velocity = 0.8, voice|
		^['/ghost/trig', role, velocity.asFloat] ++ (voice ? [])
	}

	prBundle { |seconds, messages|
		addr.sendBundle(latency !? { latency + seconds }, *messages)
	}

	// A whole beat goes as an integer: a 32 bit float would lose parts of a beat in a long set.
	prTell { |clock|
		var beat = clock.beats;
		var whole = beat.round(1);
		if ((beat - whole).abs < 1e-6) { beat = whole.asInteger };
		this.prBundle(0, [['/ghost/tempo', clock.tempo * 60], ['/ghost/beat', beat]]);
	}

	prOn { |address, action|
		^OSCFunc({ |msg| action.value(msg) }, address, addr).permanent_(true)
	}

	prAnswer { |key, values|
		var actions = waiting.removeAt(key);
		actions.do { |action| action.value(values) };
	}

	prAsk { |key, message, action|
		var condition, answer;
		if (action.isNil) {
			condition = CondVar.new;
			action = { |values| answer = values; condition.signalAll };
		};
		waiting[key] = waiting[key].add(action);
		addr.sendMsg(*message);
		if (condition.notNil) { condition.waitFor(5, { answer.notNil }) };
		^answer
	}
}
