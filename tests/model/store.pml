/*
 * The protocol of docs/format.md for one file name, for the model checker Spin. tests/model/run checks it.
 *
 * Each atomic block of a process is one operation on RADOS, one line of "Operations" there, and the numbers of the steps
 * are the numbers there. Between any two of them everything else may happen, for any length of time. The cast:
 *
 *     two uploaders       of larger files, with stripe sets 1 and 2; each uploads once
 *     an inline putter    of files up to a stripe, again and again
 *     a deleter           again and again
 *     a reader            again and again
 *     COLLECTORS          collectors, one or two, that begin again and again
 *
 * Whoever writes may crash between any two of its steps. A client's condition that does not hold, and an operation whose
 * caller has given up waiting although it is applied, look just the same to everybody else, so crashes stand for these too.
 *
 * There is no clock: a collector may find any entry old enough at any time, and a process may be suspended for as long
 * as it likes. What leans on time nevertheless is an assumption with a name of its own, see "Assumptions".
 *
 * Two things are kept in another form than in RADOS, so that the number of states is finite:
 *
 *     versions   "version is v" asks whether the head has been changed since it was read. A bit for each process says
 *                so: reading sets it, every change of the head clears it for all. (RADOS never gives a version twice,
 *                not even after the object was removed and made again.)
 *     times      "the entry is still what was read" compares bytes, and each note has another time in them. A bit for
 *                each collector and entry says so in the same way.
 *
 * Macros from outside: PROPERTIES (those to check, the sum of 1 << number), COLLECTORS, NO_INLINE and NO_DELETER (a
 * smaller cast), an assumption to be dropped, or a MUTANT_...: a mistake in the protocol, which must be found.
 */

#ifndef COLLECTORS
#define COLLECTORS 1
#endif

#define bit(n) (1 << (n))

/*
 * The properties:
 *
 *   1  every stripe of the set that the head names exists
 *   2  whoever replaces or deletes a version has judged that very version, and nothing else changes the file
 *   3  at the end nothing is left over
 *   4  a reader finds each stripe of the version whose head it has read
 *   5  a head that is no file has a right pending; without one it would be taken for a foreign file
 *
 * The second is "no acknowledged version is lost": a version that its uploader has been told of stays until somebody
 * replaces or deletes it who knew of it. Since every change of the file has judged the version right before it, there is
 * one order of versions, and each is replaced by the next and by nothing else.
 */
#ifndef PROPERTIES
#define PROPERTIES (bit(1) | bit(2) | bit(3) | bit(4) | bit(5))
#endif
#define property(number, holds) assert((PROPERTIES & bit(number)) == 0 || (holds))

/* ---- RADOS ---- */

/* What the head is, and what one of its readers saw. 1 and 2 are the stripe sets of the two uploaders. */
#define NO_FILE 0
#define INLINE  3
#define is_set(file) ((file) == 1 || (file) == 2)

#define ALL_STRIPES 3 /* two of them, a bit for each */

#define NOT_NOTED 0
#define NOTED     1 /* 'u' or 'd': they differ in nothing but their graces */
#ifndef MUTANT_ONE_LOOK
#define GARBAGE   2 /* seen to be neither in use nor pending; the grace counts from then */
#else
#define GARBAGE   NOTED
#endif

#define INLINE_PUTTER   3
#define DELETER         4
#define FIRST_COLLECTOR 5
#define LAST_COLLECTOR  6

bool head_exists;
byte head_file;
byte pending;    /* the `pending.UID` of the head: bit(uid) */
byte stripes[3]; /* of each set */
byte log[3];     /* the entry of each set */

byte head_is_as_read;     /* bit(process): "head - version is v" would hold */
byte entry_is_as_read[3]; /* bit(process), for each entry */

/* ---- what only the properties and assumptions look at ---- */

byte busy;             /* processes in the middle of something */
bool over;             /* the end has been looked at */
byte published;        /* what the last publication, replacement or deletion has made of the file */
byte judged;           /* bit(process): the version that it judged is still there */
byte in_time;          /* bit(uid): the uploader still writes, and no collector has found its set to be neither in use
                          nor pending */
byte reading;          /* the set that the reader reads, or NO_FILE */
bool read_before_note; /* the reader read the head before the set was last noted */

/*
 * ---- Assumptions: all that leans on time ----
 *
 * A macro drops each of them, to show what hangs on it.
 *
 *   LATE_PENDING     drops: no `pending.UID` is set once a collector has seen, by an old entry, that its set is neither in
 *                    use nor pending. (Between steps 2 and 3 no uploader is stopped for as long as its grace.)
 *   LATE_STRIPES     drops: no stripe is written after that either. (An uploader that was stopped for longer than half of
 *                    its grace does not write on.) It may well be written after the right was taken away.
 *   GRACE_OF_ENTRY   drops: no stripe is removed while somebody still reads who has read the head that named it. What is
 *                    left is the grace of the entry that the collector has read: whoever had read the head before that
 *                    note is through.
 */
#ifdef LATE_STRIPES
#define stripes_in_time(uid) true
#else
#define stripes_in_time(uid) ((in_time & bit(uid)) != 0)
#endif
#ifdef LATE_PENDING
#define pending_in_time(uid) true
#else
#define pending_in_time(uid) ((in_time & bit(uid)) != 0)
#endif
#ifdef GRACE_OF_ENTRY
#define entry_is_old(uid)          (reading != uid || !read_before_note)
#define readers_have_finished(uid) true
#else
#define entry_is_old(uid)          true
#define readers_have_finished(uid) (reading != uid)
#endif

/* ---- parts of operations ---- */

inline read_head(who) {
    head_is_as_read = head_is_as_read | bit(who);
    judged = judged | bit(who)
}

/* Behind every change of the head and of stripes. */
inline check() {
    property(1, !is_set(head_file) || stripes[head_file] == ALL_STRIPES);
    property(2, head_file == published);
    property(5, !head_exists || head_file != NO_FILE || pending != 0)
}

inline head_has_changed() {
    head_is_as_read = 0;
    check()
}

/* `who` makes `new` of the file. Nobody else's version is lost by that if `who` has judged what it replaces. Where it
 * found no object, it judged nothing; then there must be none. */
inline change_file(who, found_object, new) {
    property(2, (found_object -> (judged & bit(who)) != 0 : !head_exists));
    head_file = new;
    published = new;
    judged = 0
}

inline note(set, kind) {
    log[set] = kind;
    entry_is_as_read[set] = 0;
#ifdef GRACE_OF_ENTRY
    read_before_note = (read_before_note || reading == set)
#endif
}

inline remove_entry(set) {
    log[set] = NOT_NOTED;
    entry_is_as_read[set] = 0
}

/* The same for all that replace or delete: note the old set. */
inline note_old(old) {
#ifdef MUTANT_NO_NOTE
    printf("mutant: no, it does not\n")
#else
    note(old, NOTED)
#endif
}

#ifdef MUTANT_NO_VERSION_GUARD
#define version_is_as_read(me) true
#else
#define version_is_as_read(me) ((head_is_as_read & bit(me)) != 0)
#endif

/* What a process no longer needs to know must not tell states apart. */
inline forget_head(who) {
    head_is_as_read = head_is_as_read & ~bit(who);
    judged = judged & ~bit(who)
}

/* ---- put, larger ---- */

proctype uploader(byte me) /* which is also its uid */
{
    byte seen = NO_FILE;

    /* 1. Read the head: only for the conditions, nothing of it is used later. */

    /* 2. log - set (new uid -> u) */
    if
    :: atomic {
        printf("uploader %d: 2. notes its own uid\n", me);
#ifdef MUTANT_NO_UPLOAD_NOTE
        printf("mutant: no, it does not\n");
#else
        note(me, NOTED);
#endif
#ifndef MUTANT_ONE_LOOK
        entry_is_as_read[me] = bit(me)
#endif
       }
    :: atomic { true; goto gone }
    fi;

    /* 3. head - create if it does not exist; set pending.UID */
    if
    :: atomic {
        pending_in_time(me);
        printf("uploader %d: 3. sets its right on the head\n", me);
        head_exists = true;
        pending = pending | bit(me);
        head_has_changed()
       }
    :: atomic { true; goto gone }
    fi;

    /* 4. Write the stripes. */
    if
    :: atomic {
        stripes_in_time(me);
        printf("uploader %d: 4. writes the first stripe\n", me);
        stripes[me] = stripes[me] | 1
       }
    :: atomic { true; goto gone }
    fi;
    if
    :: atomic {
        stripes_in_time(me);
        printf("uploader %d: 4. writes the last stripe\n", me);
        stripes[me] = stripes[me] | 2;
        in_time = in_time & ~bit(me)
       }
    :: atomic { true; goto gone }
    fi;

#ifndef MUTANT_ONE_LOOK
    /* 4b. log - the entry is still what was noted. Otherwise the upload has been given up, and fails. */
    if
    :: atomic {
        (entry_is_as_read[me] & bit(me)) != 0;
        entry_is_as_read[me] = entry_is_as_read[me] & ~bit(me)
       }
    :: atomic { true; goto gone }
    fi;
#endif

read:
    /* 5. Read the head. No pending.UID there: the upload has been given up, and fails. */
    if
    :: atomic {
#ifndef MUTANT_NO_PENDING_GUARD
        (pending & bit(me)) != 0;
#endif
        printf("uploader %d: 5. reads the head\n", me);
        read_head(me);
        seen = head_file;
        if
        :: is_set(seen)
        :: !is_set(seen) -> goto publish
        fi
       }
    :: atomic { true; goto gone }
    fi;

    /* 6. If the head has a uid: log - set (that uid -> d) */
    if
    :: atomic { printf("uploader %d: 6. notes the old uid %d\n", me, seen); note_old(seen) }
    :: atomic { true; goto gone }
    fi;

publish:
    /* 7. head - version is v: truncate to 0, tag, manifest, uid; remove pending.UID. Otherwise from 5 again. */
    if
    :: atomic {
        version_is_as_read(me);
        printf("uploader %d: 7. publishes\n", me);
        change_file(me, true, me);
        head_exists = true;
        pending = pending & ~bit(me);
        head_has_changed()
       }
    :: atomic { !version_is_as_read(me); seen = NO_FILE; forget_head(me); goto read }
    :: atomic { true; goto gone }
    fi;

gone:
    atomic {
        seen = NO_FILE;
        in_time = in_time & ~bit(me);
        entry_is_as_read[me] = entry_is_as_read[me] & ~bit(me);
        forget_head(me);
        busy--
    }
}

/* ---- put, up to a stripe ---- */

proctype inline_putter()
{
    byte seen = NO_FILE;
    bool existed = false;

end_idle:
    /* 1. head - does not exist: create, data, tag, manifest. Done if it was so. */
    if
    :: atomic {
        !over && !head_exists;
        printf("putter: 1. creates the file\n");
        change_file(INLINE_PUTTER, false, INLINE);
        head_exists = true;
        head_has_changed();
        goto end_idle
       }
    :: atomic { !over && head_exists; busy++ }
    fi;

read:
    /* 2. Read the head. */
    if
    :: atomic {
        printf("putter: 2. reads the head\n");
        read_head(INLINE_PUTTER);
        seen = head_file;
        existed = head_exists;
        if
        :: is_set(seen)
        :: !is_set(seen) -> goto replace
        fi
       }
    :: atomic { true; goto rest }
    fi;

    /* 3. If it has a uid: log - set (uid -> d) */
    if
    :: atomic { printf("putter: 3. notes the old uid %d\n", seen); note_old(seen) }
    :: atomic { true; goto rest }
    fi;

replace:
    /* 4. head - version is v (or, where there was none: does not exist): data, tag, manifest, no uid. Otherwise from 2
     * again. */
    if
    :: atomic {
        (existed -> version_is_as_read(INLINE_PUTTER) : !head_exists);
        printf("putter: 4. replaces the file\n");
        change_file(INLINE_PUTTER, existed, INLINE);
        head_exists = true;
        head_has_changed();
        goto rest
       }
    :: atomic {
        !(existed -> version_is_as_read(INLINE_PUTTER) : !head_exists);
        seen = NO_FILE;
        existed = false;
        forget_head(INLINE_PUTTER);
        goto read
       }
    :: atomic { true; goto rest }
    fi;

rest:
    atomic {
        seen = NO_FILE;
        existed = false;
        forget_head(INLINE_PUTTER);
        busy--;
        goto end_idle
    }
}

/* ---- delete ---- */

proctype deleter()
{
    byte seen = NO_FILE;

end_idle:
    /* 1. Read the head. No file: not found, and no more to do. */
    atomic {
        !over && head_file != NO_FILE;
        printf("deleter: 1. reads the head\n");
        busy++;
        read_head(DELETER);
        seen = head_file;
        if
        :: is_set(seen)
        :: !is_set(seen) -> goto remove
        fi
    };

    /* 2. If it has a uid: log - set (uid -> d) */
    if
    :: atomic { printf("deleter: 2. notes the old uid %d\n", seen); note_old(seen) }
    :: atomic { true; goto rest }
    fi;

remove:
    /* 3. head - version is v: remove it; or, while there is any pending, truncate to 0 and remove tag, manifest and uid.
     * Otherwise from 1 again, which is where this process goes in any case. */
    if
    :: atomic {
        version_is_as_read(DELETER);
        printf("deleter: 3. deletes the file\n");
        change_file(DELETER, true, NO_FILE);
#ifndef MUTANT_DELETE_LEAVES_HEAD
        head_exists = (pending != 0);
#endif
        head_has_changed();
        goto rest
       }
    :: atomic { true; goto rest }
    fi;

rest:
    atomic {
        seen = NO_FILE;
        forget_head(DELETER);
        busy--;
        goto end_idle
    }
}

/* ---- read ---- */

/*
 * What lies in the head is read in one operation, so the reader matters only for stripes. They are looked at when it
 * reads the last of them: a stripe that has gone does not come back, so those that are there then were there before.
 */
proctype reader()
{
end_idle:
    atomic {
        !over && is_set(head_file);
        busy++;
        printf("reader: reads the head, which names the set %d\n", head_file);
        reading = head_file
    };
    atomic {
        printf("reader: reads the stripes\n");
        property(4, stripes[reading] == ALL_STRIPES);
        reading = NO_FILE;
        read_before_note = false;
        busy--;
        goto end_idle
    }
}

/* ---- collect ---- */

#define IN_USE     1
#define IS_PENDING 2
#define NEITHER    3

/* What the head is to the entry that was read before. */
inline judge_entry(who, set, becomes) {
    read_head(who);
    if
    :: head_file == set -> becomes = IN_USE
    :: head_file != set && (pending & bit(set)) != 0 -> becomes = IS_PENDING
    :: head_file != set && (pending & bit(set)) == 0 -> becomes = NEITHER; in_time = in_time & ~bit(set)
    fi
}

/* head - version is v: remove pending.UID, or the whole object if there is nothing else to it. */
inline touch_head(set) {
    pending = pending & ~bit(set);
#ifdef MUTANT_TOUCH_REMOVES_FILE
    head_file = (pending == 0 -> NO_FILE : head_file);
#endif
#ifndef MUTANT_TOUCH_LEAVES_HEAD
    head_exists = (head_file != NO_FILE || pending != 0);
#endif
    head_has_changed()
}

#ifdef MUTANT_NO_ENTRY_GUARD
#define entry_is_unchanged(who, set) true
#else
#define entry_is_unchanged(who, set) ((entry_is_as_read[set] & bit(who)) != 0)
#endif

inline read_entry(who, set) {
    printf("collector %d: reads the entry of %d\n", who, set);
    uid = set;
    entry_is_as_read[set] = entry_is_as_read[set] | bit(who);
    busy++
}

proctype collector(byte me)
{
    byte uid = 0;
    byte verdict = 0;

end_idle:
    /* An entry, of any age. */
    if
    :: atomic { !over && log[1] != NOT_NOTED && entry_is_old(1); read_entry(me, 1) }
    :: atomic { !over && log[2] != NOT_NOTED && entry_is_old(2); read_entry(me, 2) }
    fi;

    /* Read the head that it names. */
    if
    :: atomic {
        judge_entry(me, uid, verdict);
        if
        :: verdict == IN_USE -> printf("collector %d: reads the head: in use\n", me); verdict = 0; goto in_use
        :: verdict == IS_PENDING -> printf("collector %d: reads the head: pending\n", me); verdict = 0; goto is_pending
        :: verdict == NEITHER ->
            printf("collector %d: reads the head: neither\n", me);
            verdict = 0;
            forget_head(me);
            goto neither
        fi
       }
    :: atomic { true; goto rest }
    fi;

in_use:
#ifndef MUTANT_NO_TOUCH
    if
    :: atomic { version_is_as_read(me); printf("collector %d: touches the head\n", me); touch_head(uid); goto drop }
    :: atomic { true; goto rest }
    fi;
#else
    goto drop;
#endif

is_pending:
    if
    :: atomic { version_is_as_read(me); printf("collector %d: takes the right away\n", me); touch_head(uid) }
    :: atomic { true; goto rest }
    fi;
    /* log - the entry is still what was read: set (uid -> g, now) */
    if
    :: atomic { entry_is_unchanged(me, uid); printf("collector %d: notes it anew\n", me); note(uid, GARBAGE); goto rest }
    :: atomic { true; goto rest }
    fi;

neither:
#ifndef MUTANT_ONE_LOOK
    /* log - the entry is still what was read: set (uid -> g, now). Stripes are only removed by an entry that is `g`. */
    if
    :: atomic {
        log[uid] != GARBAGE && entry_is_unchanged(me, uid);
        printf("collector %d: notes it as garbage\n", me);
        note(uid, GARBAGE);
        goto rest
       }
    :: atomic { log[uid] == GARBAGE && entry_is_unchanged(me, uid) }
    :: atomic { true; goto rest }
    fi;
#endif
    /* Remove the stripes. */
    if
    :: atomic {
        readers_have_finished(uid);
        printf("collector %d: removes the first stripe of %d\n", me, uid);
        stripes[uid] = stripes[uid] & ~1;
        check()
       }
    :: atomic { true; goto rest }
    fi;
    if
    :: atomic {
        readers_have_finished(uid);
        printf("collector %d: removes the last stripe of %d\n", me, uid);
        stripes[uid] = stripes[uid] & ~2;
        check()
       }
    :: atomic { true; goto rest }
    fi;

drop:
    /* log - the entry is still what was read: remove it. */
    if
    :: atomic { entry_is_unchanged(me, uid); printf("collector %d: removes the entry\n", me); remove_entry(uid); goto rest }
    :: atomic { true; goto rest }
    fi;

rest:
    atomic {
        entry_is_as_read[uid] = entry_is_as_read[uid] & ~bit(me);
        uid = 0;
        forget_head(me);
        busy--;
        goto end_idle
    }
}

/* ---- the end ---- */

/* One entry, by a collector that is alone and does not crash: the steps of `collector` at one go. */
inline collect_alone(entry) {
    if
    :: log[entry] == NOT_NOTED
    :: else ->
        judge_entry(FIRST_COLLECTOR, entry, verdict);
        if
        :: verdict == IN_USE -> touch_head(entry); remove_entry(entry)
        :: verdict == IS_PENDING -> touch_head(entry); note(entry, GARBAGE)
#ifndef MUTANT_ONE_LOOK
        :: verdict == NEITHER && log[entry] != GARBAGE -> note(entry, GARBAGE)
        :: verdict == NEITHER && log[entry] == GARBAGE -> stripes[entry] = 0; check(); remove_entry(entry)
#else
        :: verdict == NEITHER -> stripes[entry] = 0; check(); remove_entry(entry)
#endif
        fi
    fi
}

init
{
    byte verdict = 0;

    atomic {
        busy = 2;
        in_time = bit(1) | bit(2);
        run uploader(1);
        run uploader(2);
        run reader();
#ifndef NO_INLINE
        run inline_putter();
#endif
#ifndef NO_DELETER
        run deleter();
#endif
        run collector(FIRST_COLLECTOR);
#if COLLECTORS == 2
        run collector(LAST_COLLECTOR);
#endif
    }

    /* Both uploads have ended or crashed, and nobody is in the middle of anything: the collector is to find and give
     * back all that is of no use, in two walks. */
    d_step {
        busy == 0 ->
        printf("the end: a collector alone walks the log\n");
        over = true;
        collect_alone(1);
        collect_alone(2);
        collect_alone(1);
        collect_alone(2);
        property(3, log[1] == NOT_NOTED && log[2] == NOT_NOTED);
        property(3, stripes[1] == 0 || head_file == 1);
        property(3, stripes[2] == 0 || head_file == 2);
        property(3, pending == 0);
        property(3, head_file != NO_FILE || !head_exists);
        verdict = 0
    }
}
