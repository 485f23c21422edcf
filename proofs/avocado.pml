/* SPDX-License-Identifier: Apache-2.0
 *
 * One key on three replicas: register, read-modify-write, epochs with one memoryless restart, and
 * the collection of tombstones. docs/protocol/model.md says what is modelled, what is left out and
 * why that is no loss, and which clause each part stands for. proofs/check.py runs it.
 *
 * Messages. What an operation has sent in its current phase can be delivered to any replica at any
 * time, once or again, or never: delivery is a step of the operation's process, and an operation
 * that takes no more steps is one whose coordinator has died. So loss, delay, duplication,
 * reordering and crashes of coordinators need no channel and no process of their own. A delivery
 * and the recording of its answer are one step, because answers only count towards a majority, and
 * an operation may wait as long as it likes before it acts on them.
 *
 * Judgement. Whenever an operation returns, the whole history of calls and returns is searched for
 * an order that explains it (linearizable(), below). The search sees neither tags nor replicas.
 */

c_decl {
\#include <stdlib.h>
\#include <string.h>
};

#define OPS 4   /* at most; which ones there are is said at run time */
#define CLONE 3 /* r[3]: a second instance of node 2, under plant CLONE_VOTES */

/* kind */
#define NONE 0
#define GET 1
#define PUT 2    /* writes id + 1 */
#define DEL 3
#define SWAP 4   /* read-modify-write: writes id + 1, returns what was there */
#define CAS 5    /* the same if the value is `expect`, otherwise it returns the value */
#define LOOK 6   /* a get that a client tries without a coordinator */
#define CAS_DONE 100

/* plant: the names are those of FINDS in check.py */
#define EARLY_REPLY 1
#define NO_WRITE_BACK 2
#define WRONG_AGREEMENT 3
#define SHARED_TAGS 4
#define QUORUM_OF_ONE 5
#define MEMORYLESS_VOTER 6
#define SYNC_THEN_VOTE 7
#define CLONE_VOTES 8
#define EARLY_DROP 9
#define NO_BARRIER 10
#define MISSING_FLOOR 11
#define FAILED_CAS_LOCAL 12
#define HELPER_LOSES_ID 13
#define ACCEPTED_SHOWN 14
#define RETRY_WRITES_TWICE 15
#define OLD_EPOCH_ACCEPTED 16
#define ONE_DONOR 17
#define LEARNER_VOTES 18
#define EVALUATES_IN_DOUBT 19
#define ANSWER_BEFORE_COMMIT 20
#define RMW_WHILE_DROPPED 21
#define REJOINS_ROUND 22
#define UNSEALED_BY_DROP 23
#define OFFER_UNCHECKED 24
#define OFFER_TWICE 25
#define OFFERS_SHARE_TAGS 26
#define FORGETS_WHO_DECIDES 27
#define LOOK_ONE 28
#define LOOK_EPOCHS 29
#define LOOK_LEARNER 30
#define LOOK_LIVES 31
#define EVERYTHING 99 /* no bug: stops at a state in which all that can happen has happened */

/* Said at run time, the same in all states: outside of the state vector. */
hidden byte plant, first_value, rounds_max, late, linearizable;
hidden byte kind[OPS], node[OPS], expect[OPS], chained[OPS], offers[OPS];
hidden byte restarts, collects, breaks;

/* tag = (ts, writer, rmwc), 3 + 3 + 2 bits, compared as a number. Writers are incarnations: node + 1,
 * and never that of a node that has died. */
#define TAG(ts, w) (((ts) << 5) + ((w) << 2))
#define TS(tag) ((tag) >> 5)

typedef Replica {
    byte epoch;    /* 0: dead, or not a member yet */
    byte tag, val; /* val 0: a tombstone, or with tag 0 absent */
    byte gc, floor; /* floor: a timestamp */
    byte listed;    /* the tombstone that is being collected */
    /* the record of an acceptor: instance, promise, and what was accepted in it (op + 1) */
    byte base, promise, a_ballot, a_op;
    /* of each operation: the base in which it was last accepted here, + 1 << 0 if a helper had
     * proposed it, + 1 << 1 if it is known to be committed */
    byte mem_base[OPS], mem[OPS];
};
#define HELPED 1
#define COMMITTED 2
Replica r[4];

byte stage[OPS];  /* 0 not called, 1 called, 2 returned */
byte result[OPS];
byte before[OPS]; /* those that had returned when this one was called */
byte returned;    /* set of operations */
byte on_offer[OPS]; /* the timestamp of a write that its coordinator does not hold itself yet */
bit restarted, collected;
byte in_round = 7; /* members that have not gone back from the collection under way */
byte sealed;       /* members that can not */

c_code {
    /* Is there an order of the operations in `left`, starting from `value`, that explains what was
     * returned? One that has not returned may be taken or not. */
    static int explains(unsigned taken, int value)
    {
        unsigned i, open = 0;

        for (i = 0; i < OPS; i++) {
            if (now.stage[i] == 2 && !(taken >> i & 1)) {
                open = 1;
            }
        }
        if (!open) {
            return 1;
        }
        for (i = 0; i < OPS; i++) {
            int after = value, fits = 1, is_back = now.stage[i] == 2;

            if (now.stage[i] == 0 || (taken >> i & 1) || (now.before[i] & ~taken)) {
                continue;
            }
            switch (kind[i]) {
            case GET:
            case LOOK:
                fits = is_back && now.result[i] == value;
                break;
            case PUT:
                after = (int)i + 1;
                break;
            case DEL:
                after = 0;
                break;
            case SWAP:
                fits = !is_back || now.result[i] == value;
                after = (int)i + 1;
                break;
            case CAS:
                fits = !is_back || now.result[i] == (value == expect[i] ? CAS_DONE : value);
                after = value == expect[i] ? (int)i + 1 : value;
                break;
            default:
                fits = 0;
            }
            if (fits && explains(taken | 1u << i, after)) {
                return 1;
            }
        }
        return 0;
    }
};

c_code {
    /* MODEL in the environment: words such as p0 (put at node 0), g, d, s, c0=9 (compare with 9), restart,
     * o and e: a put and a delete that are offered, l0: a look (it has no node),
     * +g2: called after the one before has returned, collect, breaks, late, rounds=2, first=9 (what all replicas hold at first), plant=7. */
    static void configure(void)
    {
        static const char letters[] = "-gpdscloe";
        char *all = getenv("MODEL"), *word;
        int ops = 0;

        rounds_max = 2;
        for (word = strtok(all ? strdup(all) : strdup(""), " "); word; word = strtok(NULL, " ")) {
            int then = word[0] == '+', v;
            const char *value, *letter;

            word += then;
            value = strchr(word, '=');
            letter = strchr(letters, word[0]);
            v = value ? atoi(value + 1) : 0;

            if (!strcmp(word, "restart")) {
                restarts = 1;
            } else if (!strcmp(word, "collect")) {
                collects = 1;
            } else if (!strcmp(word, "breaks")) {
                breaks = 1;
            } else if (!strcmp(word, "late")) {
                late = 1;
            } else if (!strncmp(word, "rounds=", 7)) {
                rounds_max = v;
            } else if (!strncmp(word, "first=", 6)) {
                first_value = v;
            } else if (!strncmp(word, "plant=", 6)) {
                plant = v;
            } else if (letter && word[1] >= '0' && word[1] <= '2' && ops < OPS) {
                kind[ops] = letter - letters;
                if (kind[ops] > LOOK) {
                    kind[ops] = *letter == 'o' ? PUT : DEL;
                    offers[ops] = 1;
                }
                node[ops] = word[1] - '0';
                chained[ops] = then;
                expect[ops++] = v;
            } else {
                fprintf(stderr, "MODEL: %s?\n", word);
                exit(2);
            }
        }
    }
};

#define IS_PLANT(p) (plant == (p))
#define BIT(j) (1 << (j))
/* Voters of C(1) and C(3): all three. Of C(2): nodes 0 and 1; node 2, come back, is a learner. */
#define MAJORITY(set) ((ep == 2 && !IS_PLANT(LEARNER_VOTES) -> ((set) & 3) == 3 : \
                        ((set) == 3 || (set) >= 5)) || IS_PLANT(QUORUM_OF_ONE))
/* Who answers under the name of node j: itself, or its clone. */
#define NAME(j) ((j) == CLONE -> 2 : (j))

/* A replica takes a message of its own epoch, unless it is of an older epoch of the collection. */
#define TAKES(j) (r[j].epoch != 0 && (r[j].epoch == ep || (IS_PLANT(OLD_EPOCH_ACCEPTED) && r[j].epoch > ep)) \
                  && gc >= r[j].gc)
/* The coordinator's own replica has gone on: to another epoch, or past the barrier of a collection. */
#define STALE ((r[n].epoch != ep && !IS_PLANT(OLD_EPOCH_ACCEPTED)) || r[n].gc > gc)

/* ABD-3. Equal tags mean equal values (ABD-2). */
inline apply(at_node, new_tag, new_val) {
    assert((new_tag) != r[at_node].tag || (new_val) == r[at_node].val);
    if
    :: (new_tag) > r[at_node].tag && (new_tag) != r[at_node].listed ->
        r[at_node].tag = new_tag;
        r[at_node].val = new_val
    :: else
    fi
}

/* A client calls its operations one after the other. */
#define MAY_CALL (!chained[id] || stage[id - 1] == 2)

inline call() {
    stage[id] = 1;
    before[id] = returned
}

inline answer(what) {
    stage[id] = 2;
    result[id] = what;
    returned = returned | BIT(id);
    c_code { linearizable = explains(0, first_value); };
    assert(linearizable)
}

/* What a replica answers to a question for its tag. */
inline look(j, ret_tag, ret_val) {
    ret_tag = r[j].tag;
    ret_val = r[j].val;
    if
    :: IS_PLANT(ACCEPTED_SHOWN) && r[j].a_op != 0 && r[j].base + 1 > ret_tag ->
        ret_tag = r[j].base + 1;
        ret_val = r[j].a_op
    :: else
    fi
}

/* The timestamp that a new write must exceed. */
inline seen_ts(j, ret) {
    ret = TS(r[j].tag);
    if
    :: r[j].floor > ret && !IS_PLANT(MISSING_FLOOR) -> ret = r[j].floor
    :: else
    fi
}

/* ---- the register ---- */

#define MAY_APPLY(j) (n != (j) && TAKES(j) && (!(votes & BIT(NAME(j))) || r[j].tag < m_tag) && \
                      ((j) != CLONE || IS_PLANT(CLONE_VOTES)))
/* A round ends with the answer that makes the majority. */
#define MAY_ASK(j) (n != (j) && TAKES(j) && !(votes & BIT(NAME(j))) && \
                    (!MAJORITY(votes) || IS_PLANT(WRONG_AGREEMENT)) && \
                    ((j) != CLONE || IS_PLANT(CLONE_VOTES)))

/* The second round of put and get, and what a failed compare ends with. */
inline apply_at(j) {
    d_step {
        MAY_APPLY(j) ->
        apply(j, m_tag, m_val);
        votes = votes | BIT(NAME(j))
    }
}

inline ask_ts(j) {
    d_step {
        MAY_ASK(j) ->
        seen_ts(j, x);
        m_tag = (x > m_tag -> x : m_tag); /* a timestamp in this phase */
        votes = votes | BIT(NAME(j));
        x = 0
    }
}

/* A write that is offered (ABD-21) does not stand at its coordinator yet; the next one is above it. */
inline above_offers(ret) {
    if
    :: !IS_PLANT(OFFERS_SHARE_TAGS) ->
        ret = (node[0] == n && on_offer[0] > ret -> on_offer[0] : ret);
        ret = (node[1] == n && on_offer[1] > ret -> on_offer[1] : ret);
        ret = (node[2] == n && on_offer[2] > ret -> on_offer[2] : ret);
        ret = (node[3] == n && on_offer[3] > ret -> on_offer[3] : ret)
    :: else
    fi
}

proctype Writer(byte id) {
    byte n = node[id], ep, gc, votes, m_tag, m_val, x;
    bit retried;

    d_step {
        MAY_CALL -> call();
        m_val = (kind[id] == DEL -> 0 : id + 1)
    };
round_one:
    skip;
    d_step {
        r[n].epoch != 0 ->
        ep = r[n].epoch;
        gc = r[n].gc;
        votes = BIT(n);
        seen_ts(n, m_tag)
    };
    do
    :: ask_ts(0)
    :: ask_ts(1)
    :: ask_ts(2)
    :: STALE -> goto round_one /* nothing was written yet */
    :: d_step {
            MAJORITY(votes) && !STALE ->
            seen_ts(n, x);
            m_tag = (x > m_tag -> x : m_tag);
            x = 0;
            above_offers(m_tag);
            assert(m_tag < 7);
            m_tag = TAG(m_tag + 1, (IS_PLANT(SHARED_TAGS) -> 1 : n + 1));
            apply(n, m_tag, m_val);
            votes = BIT(n)
        };
        break
    od;
    do /* goes on after the answer, as a tail */
    :: apply_at(0)
    :: apply_at(1)
    :: apply_at(2)
    :: apply_at(CLONE)
    :: d_step { stage[id] == 1 && MAJORITY(votes) -> answer(0) }
    :: d_step { /* a new epoch: the same tag once more */
            stage[id] == 1 && r[n].epoch > ep && gc >= r[n].gc && !IS_PLANT(OLD_EPOCH_ACCEPTED) ->
            ep = r[n].epoch;
            apply(n, m_tag, m_val);
            votes = BIT(n)
        }
    :: IS_PLANT(RETRY_WRITES_TWICE) && stage[id] == 1 && !retried ->
        retried = true;
        goto round_one
    od
}

/* The question goes out; it may arrive at any time from now on, or never. */
inline offer_to(j) {
    d_step {
        n != j && !(asked & BIT(j)) && !MAJORITY(votes | taken) && (ep != 2 || j != 2) ->
        asked = asked | BIT(j)
    }
}

/* It arrives, for the first time, or again after its answer was lost; and the answer comes, */
inline take_or_deny(j) {
    seen_ts(j, x);
    if
    :: IS_PLANT(OFFER_UNCHECKED) || r[j].tag == m_tag ||
       (r[j].tag < m_tag && (TS(m_tag) > r[j].floor || IS_PLANT(MISSING_FLOOR))) ->
        apply(j, m_tag, m_val);
        y = 1
    :: else
    fi
}

#define MAY_ARRIVE(j) (TAKES(j) && (asked & BIT(j)) && !((taken | denied) & BIT(j)))

inline offer_at(j) {
    d_step {
        MAY_ARRIVE(j) && (!(lost & BIT(j)) || r[j].tag <= m_tag) ->
        take_or_deny(j);
        if
        :: y -> taken = taken | BIT(j)
        :: else ->
            denied = denied | BIT(j);
            seen = (x > seen -> x : seen)
        fi;
        x = 0;
        y = 0
    }
}

/* or it is lost. */
inline offer_lost(j) {
    d_step {
        MAY_ARRIVE(j) && !(lost & BIT(j)) ->
        take_or_deny(j);
        lost = lost | BIT(j);
        x = 0;
        y = 0
    }
}

/* Nobody holds it: all who were asked have said so. */
#define NOBODY_MAY_HOLD_IT ((asked == denied && !doubt) || IS_PLANT(OFFER_TWICE))

proctype Offerer(byte id) {
    byte n = node[id], ep, gc, votes, m_tag, m_val, x, y, asked, taken, denied, lost, seen;
    bit doubt;

    d_step {
        MAY_CALL -> call();
        m_val = (kind[id] == DEL -> 0 : id + 1)
    };
begin:
    skip;
    d_step {
        r[n].epoch != 0 ->
        ep = r[n].epoch;
        gc = r[n].gc;
        votes = BIT(n);
        seen_ts(n, m_tag);
        above_offers(m_tag);
        assert(m_tag < 7);
        on_offer[id] = m_tag + 1;
        m_tag = TAG(m_tag + 1, n + 1)
    };
    do
    :: offer_to(0)
    :: offer_to(1)
    :: offer_to(2)
    :: offer_at(0)
    :: offer_at(1)
    :: offer_at(2)
    :: offer_lost(0)
    :: offer_lost(1)
    :: offer_lost(2)
    :: d_step {
            MAJORITY(votes | taken) && !STALE ->
            apply(n, m_tag, m_val);
            votes = BIT(n) | taken
        };
        break
    :: d_step {
            MAJORITY(BIT(n) | denied) && NOBODY_MAY_HOLD_IT && !STALE ->
            m_tag = seen;
            seen_ts(n, x);
            m_tag = (x > m_tag -> x : m_tag);
            on_offer[id] = 0;
            above_offers(m_tag);
            x = 0;
            assert(m_tag < 7);
            m_tag = TAG(m_tag + 1, n + 1);
            apply(n, m_tag, m_val);
            votes = BIT(n)
        };
        break
    :: d_step {
            STALE && NOBODY_MAY_HOLD_IT ->
            asked = 0; denied = 0; lost = 0; seen = 0
        };
        goto begin
    :: d_step { /* MEM-8: the same tag, if nothing greater has come here */
            r[n].epoch > ep && gc >= r[n].gc && !NOBODY_MAY_HOLD_IT &&
            !IS_PLANT(OLD_EPOCH_ACCEPTED) ->
            ep = r[n].epoch;
            votes = (r[n].tag <= m_tag -> BIT(n) : 0);
            doubt = 1;
            asked = 0; taken = 0; denied = 0; lost = 0; seen = 0
        }
    od;
    skip;
    d_step { on_offer[id] = 0; asked = 0; taken = 0; denied = 0; lost = 0; seen = 0; doubt = 0 };
    do
    :: apply_at(0)
    :: apply_at(1)
    :: apply_at(2)
    :: d_step { stage[id] == 1 && MAJORITY(votes) -> answer(0) }
    :: d_step { /* a new epoch: the same tag once more */
            stage[id] == 1 && r[n].epoch > ep && gc >= r[n].gc && !IS_PLANT(OLD_EPOCH_ACCEPTED) ->
            ep = r[n].epoch;
            apply(n, m_tag, m_val);
            votes = BIT(n)
        }
    od
}

inline ask_tag(j) {
    d_step {
        MAY_ASK(j) ->
        look(j, x, y);
        if
        :: x > m_tag -> m_tag = x; m_val = y; holders = BIT(NAME(j))
        :: x == m_tag -> holders = holders | BIT(NAME(j))
        :: else
        fi;
        agreed = agreed || x == peer_tag;
        peer_tag = (IS_PLANT(WRONG_AGREEMENT) -> x : 255);
        votes = votes | BIT(NAME(j));
        x = 0;
        y = 0
    }
}

proctype Reader(byte id) {
    byte n = node[id], ep, gc, votes, m_tag, m_val, holders, x, y, peer_tag;
    bit agreed;

    d_step { MAY_CALL -> call() };
round_one:
    skip;
    d_step {
        r[n].epoch != 0 ->
        ep = r[n].epoch;
        gc = r[n].gc;
        look(n, m_tag, m_val);
        votes = BIT(n);
        holders = BIT(n);
        peer_tag = 255;
        agreed = false
    };
    do
    :: ask_tag(0)
    :: ask_tag(1)
    :: ask_tag(2)
    :: ask_tag(CLONE)
    :: STALE -> goto round_one
    :: d_step {
            stage[id] == 1 && MAJORITY(votes) && (MAJORITY(holders) || IS_PLANT(NO_WRITE_BACK)
                                || (IS_PLANT(WRONG_AGREEMENT) && agreed)) ->
            answer(m_val)
        };
        goto done
    :: d_step { IS_PLANT(EARLY_REPLY) && stage[id] == 1 && MAJORITY(votes) -> answer(m_val) }
    :: d_step {
            MAJORITY(votes) && !MAJORITY(holders) && !STALE ->
            apply(n, m_tag, m_val);
            votes = holders | BIT(n);
            holders = 0
        };
        break
    od;
    do
    :: apply_at(0)
    :: apply_at(1)
    :: apply_at(2)
    :: apply_at(CLONE)
    :: stage[id] == 1 && STALE -> goto round_one
    :: d_step { stage[id] == 1 && MAJORITY(votes) -> answer(m_val) }
    od;
done:
    skip
}

/* ---- a look: a read without a coordinator (CLI-19, ABD-22) ---- */

/* Only who votes answers: at once, from its own store, with epoch, gc epoch, tag and value. */
#define ANSWERS_LOOK(j) (r[j].epoch != 0 && (r[j].epoch != 2 || (j) != 2 || IS_PLANT(LOOK_LEARNER)))
/* Two of three are a majority, in C(2) both voters. The gc epoch tells the lives of a key apart, in each of which the
 * zero tag and its successors come round again: LIST raises it when nobody holds anything older than the tombstone any
 * more, and nobody yet what follows the zero tag in the next life. While it stays the same the tag of a replica only
 * rises, but for the drop, by which absence follows absence. So equal tags are one write, and two zero tags none that
 * had completed (ABD-18). */
#define AGREES(j) ((j) != from && (r[j].epoch == ep || IS_PLANT(LOOK_EPOCHS)) && \
                   (r[j].gc == gc || IS_PLANT(LOOK_LIVES)) && (r[j].tag == m_tag || IS_PLANT(LOOK_ONE)))

inline first_answer(j) {
    d_step {
        ANSWERS_LOOK(j) ->
        ep = r[j].epoch;
        gc = r[j].gc;
        m_tag = r[j].tag;
        m_val = r[j].val;
        from = j
    }
}

/* Either of the two may be the one that was asked for the value. */
inline second_answer(j, what) {
    d_step {
        ANSWERS_LOOK(j) && AGREES(j) ->
        answer(what);
        ep = 0; gc = 0; m_tag = 0; m_val = 0; from = 0
    }
}

/* A look changes nothing anywhere. So one that finds no agreement may just take no more steps: it has not returned, and
 * the read that the client makes of it is a Reader called later than the client was. What explains that one explains the
 * client's. For the same reason it need not ask anybody again. */
proctype Looker(byte id) {
    byte ep, gc, m_tag, m_val, from;

    d_step { MAY_CALL -> call() };
    if
    :: first_answer(0)
    :: first_answer(1)
    :: first_answer(2)
    fi;
    if
    :: second_answer(0, m_val)
    :: second_answer(1, m_val)
    :: second_answer(2, m_val)
    :: second_answer(0, r[0].val)
    :: second_answer(1, r[1].val)
    :: second_answer(2, r[2].val)
    fi
}

/* ---- read-modify-write: Paxos on which operation follows a given tag ---- */

/* Takes part in instance b (RMW-3). */
#define OPEN(j) (r[j].tag <= b && r[j].base <= b)

inline enter(j) {
    if
    :: r[j].base < b -> r[j].base = b; r[j].promise = 0; r[j].a_ballot = 0; r[j].a_op = 0
    :: else
    fi
}

inline remember(j, op, what) {
    if
    :: IS_PLANT(HELPER_LOSES_ID) && (op) != id
    :: else ->
        if
        :: r[j].mem_base[op] < b -> r[j].mem_base[op] = b; r[j].mem[op] = what
        :: r[j].mem_base[op] == b -> r[j].mem[op] = r[j].mem[op] | what
        :: else
        fi
    fi
}

/* RMW-13, RMW-18: nobody can have decided it without a word. */
#define DEAD (doubt && MAJORITY(closed) && (!(deciders & ~closed) || IS_PLANT(FORGETS_WHO_DECIDES)))
#define MAY_PREPARE(j) (n != (j) && TAKES(j) && !r[j].listed && !((votes | closed) & BIT(j)) && !known && \
                        !MAJORITY(votes) && !DEAD)
#define MAY_ACCEPT(j) (n != (j) && TAKES(j) && !r[j].listed && !(votes & BIT(j)) && !MAJORITY(votes) && !outbid && \
                       (asked & BIT(j)))
/* Its own voice and one more. (The plant is of larger clusters, where that is not enough.) */
#define DECIDES(j) ((votes & BIT(n)) && n != (j) && MAJORITY(BIT(n) | BIT(j)) && !IS_PLANT(ANSWER_BEFORE_COMMIT))
#define MAY_COMMIT(j) (n != (j) && TAKES(j) && (!(votes & BIT(j)) || r[j].tag <= b))
#define IS_LATE(j) (late && l_op != 0 && r[j].epoch == l_epoch && gc >= r[j].gc && \
                    r[j].tag <= l_base && r[j].base <= l_base && r[j].promise <= l_ballot && \
                    r[j].a_ballot != l_ballot)

/* PREPARE. */
inline prepare(j) {
    if
    :: doubt && r[j].mem_base[id] == b && (r[j].mem[id] & COMMITTED) -> known = true
    :: else
    fi;
    if
    :: !OPEN(j) ->
        closed = closed | BIT(j);
        helped = helped || (r[j].mem_base[id] == b && (r[j].mem[id] & HELPED));
        if
        :: !STALE -> apply(n, r[j].tag, r[j].val) /* the answer carries it */
        :: else
        fi
    :: OPEN(j) && r[j].promise <= ballot ->
        enter(j);
        r[j].promise = ballot;
        votes = votes | BIT(j);
        if
        :: r[j].a_ballot > p_ballot -> p_ballot = r[j].a_ballot; p_op = r[j].a_op
        :: else
        fi
    :: else -> outbid = true
    fi
}

inline accept(j) {
    if
    :: OPEN(j) && r[j].promise <= ballot ->
        enter(j);
        r[j].promise = ballot;
        r[j].a_ballot = ballot;
        r[j].a_op = p_op;
        remember(j, p_op - 1, (p_op - 1 != id -> HELPED : 0));
        if
        :: DECIDES(j) ->
            apply(j, b + 1, p_op);
            remember(j, p_op - 1, COMMITTED);
            applied = applied | BIT(j)
        :: else
        fi;
        votes = votes | BIT(j)
    :: else -> outbid = true
    fi
}

/* It arrives, and what is said to it does not. */
inline accept_lost(j) {
    d_step {
        MAY_ACCEPT(j) && DECIDES(j) && OPEN(j) && r[j].promise <= ballot ->
        x = votes;
        accept(j);
        votes = x;
        applied = 0;
        asked = asked & ~BIT(j);
        x = 0
    }
}

inline commit_at(j) {
    d_step {
        MAY_COMMIT(j) ->
        apply(j, b + 1, p_op);
        remember(j, p_op - 1, COMMITTED);
        votes = votes | BIT(j)
    }
}

/* An ACCEPT of an earlier round or instance that arrives only now. */
inline late_at(j) {
    d_step {
        IS_LATE(j) ->
        x = b;
        b = l_base;
        enter(j);
        r[j].promise = l_ballot;
        r[j].a_ballot = l_ballot;
        r[j].a_op = l_op;
        remember(j, l_op - 1, (l_op - 1 != id -> HELPED : 0));
        if
        :: l_decides & BIT(j) -> apply(j, b + 1, l_op); remember(j, l_op - 1, COMMITTED)
        :: else
        fi;
        b = x;
        x = 0
    }
}

proctype Modifier(byte id) {
    byte n = node[id], ep, gc, votes, closed, b, b_val, ballot, p_ballot, p_op, round, x, m_tag, m_val;
    byte l_base, l_ballot, l_op, l_epoch, l_decides;
    byte asked, applied, deciders;
    bit doubt, known, helped, outbid;

    d_step {
        MAY_CALL -> call();
        if
        :: IS_PLANT(FAILED_CAS_LOCAL) && kind[id] == CAS && r[n].val != expect[id] -> answer(r[n].val)
        :: else
        fi
    };
evaluate:
    stage[id] == 1;
ask:
    skip;
    d_step {
        round < rounds_max && r[n].epoch != 0 && !r[n].listed &&
        (doubt || r[n].base <= r[n].tag) && /* else its own replica has closed what it holds */
        (!doubt || gc >= r[n].gc) -> /* past a barrier, what is in doubt stays unknown */
        if
        :: doubt
        :: else -> b = r[n].tag; b_val = r[n].val
        fi;
        round++;
        ballot = (round << 2) + id;
        ep = r[n].epoch;
        gc = r[n].gc;
        votes = 0; closed = 0; known = false; helped = false; outbid = false; p_ballot = 0; p_op = 0;
        prepare(n)
    };
    do
    :: d_step { MAY_PREPARE(0) -> prepare(0) }
    :: d_step { MAY_PREPARE(1) -> prepare(1) }
    :: d_step { MAY_PREPARE(2) -> prepare(2) }
    :: late_at(0)
    :: late_at(1)
    :: late_at(2)
    :: STALE || (outbid && !MAJORITY(votes)) -> goto again
    :: known && !STALE -> goto finish /* somebody decided it: it only has to stand at a majority */
    :: d_step { /* nobody can decide for it any more */
            DEAD && !helped && !known -> doubt = false; deciders = 0
        };
        goto evaluate
    :: d_step { IS_PLANT(EVALUATES_IN_DOUBT) && doubt && closed != 0 -> doubt = false };
        goto evaluate
    :: !doubt && closed != 0 && r[n].tag > b -> goto evaluate
    :: MAJORITY(votes) && !STALE && !known ->
        if
        :: p_op == 0 && kind[id] == CAS && b_val != expect[id] -> goto failed
        :: else -> break
        fi
    od;
    skip;
    if
    :: d_step {
            !STALE && !r[n].listed ->
            p_op = (p_op == 0 -> id + 1 : p_op);
            doubt = doubt || p_op == id + 1;
            votes = 0; closed = 0; helped = false; outbid = false; p_ballot = 0; applied = 0;
            accept(n)
        };
        if
        :: asked = BIT((n + 1) % 3)
        :: asked = BIT((n + 2) % 3)
        :: asked = 7
        fi;
        deciders = (p_op == id + 1 && (votes & BIT(n)) -> deciders | (asked & ~BIT(n)) : deciders)
    :: STALE || r[n].listed -> goto again
    fi;
    do
    :: d_step { MAY_ACCEPT(0) -> accept(0) }
    :: d_step { MAY_ACCEPT(1) -> accept(1) }
    :: d_step { MAY_ACCEPT(2) -> accept(2) }
    :: accept_lost(0)
    :: accept_lost(1)
    :: accept_lost(2)
    :: !outbid && !MAJORITY(votes) && !(asked & ~(votes | BIT(n))) -> goto again /* all answers are lost */
    :: MAJORITY(votes) && !STALE -> break
    :: outbid || STALE -> goto again
    od;
finish:
    skip;
    if
    :: d_step {
            !STALE ->
            p_op = (known -> id + 1 : p_op);
            apply(n, b + 1, p_op);
            remember(n, p_op - 1, COMMITTED);
            votes = BIT(n) | applied;
            applied = 0;
            asked = 0
        }
    :: STALE -> goto again
    fi;
    do
    :: commit_at(0)
    :: commit_at(1)
    :: commit_at(2)
    :: d_step { stage[id] == 1 && p_op == id + 1 && (MAJORITY(votes) || IS_PLANT(ANSWER_BEFORE_COMMIT)) ->
            answer((kind[id] == CAS -> CAS_DONE : b_val))
        }
    :: stage[id] == 1 && p_op != id + 1 && MAJORITY(votes) -> /* helped; now its own, which is dead in b */
        doubt = false;
        deciders = 0;
        goto evaluate
    :: stage[id] == 1 && STALE -> goto again
    od;
again:
    skip;
    d_step {
        outbid = false; applied = 0;
        l_decides = (late && ep != 2 && (votes & BIT(n)) -> asked & ~votes : 0);
        asked = 0;
        if
        :: late && p_op != 0 -> l_base = b; l_ballot = ballot; l_op = p_op; l_epoch = ep
        :: else
        fi
    };
    if
    :: doubt -> goto ask
    :: else -> goto evaluate
    fi;
failed: /* a read of its base */
    skip;
    if
    :: d_step { !STALE -> m_tag = b; m_val = b_val; votes = BIT(n) }
    :: STALE -> goto evaluate
    fi;
    do
    :: apply_at(0)
    :: apply_at(1)
    :: apply_at(2)
    :: stage[id] == 1 && STALE -> goto evaluate
    :: d_step { stage[id] == 1 && MAJORITY(votes) -> answer(m_val) }
    od
}

/* COL-8: a member holds its tombstone again, and nothing is listed. */
inline restore(j) {
    if
    :: r[j].listed != 0 && !(sealed & BIT(j)) ->
        if
        :: r[j].listed > r[j].tag -> r[j].tag = r[j].listed; r[j].val = 0
        :: else
        fi;
        in_round = in_round & ~BIT(j);
        r[j].listed = 0
    :: else
    fi
}

/* ---- a memoryless restart of node 2: C(1) all vote, C(2) it learns, C(3) all vote ---- */

inline forget(j) {
    sealed = sealed & ~BIT(j);
    in_round = in_round & ~BIT(j);
    r[j].epoch = 0; r[j].tag = 0; r[j].val = 0; r[j].gc = 0; r[j].floor = 0; r[j].listed = 0;
    r[j].base = 0; r[j].promise = 0; r[j].a_ballot = 0; r[j].a_op = 0;
    r[j].mem_base[0] = 0; r[j].mem_base[1] = 0; r[j].mem_base[2] = 0; r[j].mem_base[3] = 0;
    r[j].mem[0] = 0; r[j].mem[1] = 0; r[j].mem[2] = 0; r[j].mem[3] = 0
}

inline merge(from, op) {
    if
    :: r[from].mem_base[op] > r[2].mem_base[op] ->
        r[2].mem_base[op] = r[from].mem_base[op];
        r[2].mem[op] = r[from].mem[op]
    :: r[from].mem_base[op] == r[2].mem_base[op] -> r[2].mem[op] = r[2].mem[op] | r[from].mem[op]
    :: else
    fi
}

inline copy_from(j) {
    d_step {
        r[2].epoch == r[j].epoch || IS_PLANT(SYNC_THEN_VOTE) ->
        if
        :: r[j].listed != 0 -> r[2].listed = r[j].listed; sealed = sealed | BIT(2) /* COL-9 */
        :: else
        fi;
        apply(2, r[j].tag, r[j].val);
        r[2].floor = (r[j].floor > r[2].floor -> r[j].floor : r[2].floor);
        r[2].gc = (r[j].gc > r[2].gc -> r[j].gc : r[2].gc);
        if
        :: r[j].a_op != 0 &&
           (r[j].base > r[2].base || (r[j].base == r[2].base && r[j].a_ballot > r[2].a_ballot)) ->
            r[2].base = r[j].base;
            r[2].promise = r[j].a_ballot;
            r[2].a_ballot = r[j].a_ballot;
            r[2].a_op = r[j].a_op
        :: else
        fi;
        merge(j, 0); merge(j, 1); merge(j, 2); merge(j, 3)
    }
}

/* A round is of one configuration (COL-8). */
inline enter_epoch(j, e) {
    d_step {
        r[j].epoch == (e) - 1 ->
        restore(j);
        in_round = in_round & ~BIT(j);
        r[j].epoch = e
    }
}

proctype Restart() {
    bit copied[2];

    d_step { forget(2); restarted = true };
    if
    :: IS_PLANT(MEMORYLESS_VOTER) -> r[2].epoch = 1; goto done
    :: IS_PLANT(SYNC_THEN_VOTE) -> copy_from(1); r[2].epoch = 1; goto done /* two of three: 1 and itself */
    :: else
    fi;
    /* C(2) is there: whoever hears of it works under it and has left C(1). */
    do
    :: enter_epoch(0, 2)
    :: enter_epoch(1, 2)
    :: r[2].epoch == 0 -> r[2].epoch = 2
    :: !copied[0] && r[2].epoch == 2 && r[0].epoch == 2 -> copy_from(0); copied[0] = true
    :: !copied[1] && r[2].epoch == 2 && r[1].epoch == 2 -> copy_from(1); copied[1] = true
    :: copied[0] && copied[1] -> break
    :: IS_PLANT(ONE_DONOR) && (copied[0] || copied[1]) && r[0].epoch == 2 && r[1].epoch == 2 -> break
    od;
    skip;
    d_step { copied[0] = false; copied[1] = false };
    do
    :: enter_epoch(0, 3)
    :: enter_epoch(1, 3)
    :: enter_epoch(2, 3)
    :: r[0].epoch == 3 && r[1].epoch == 3 && r[2].epoch == 3 -> break
    od;
done:
    skip
}

/* The host runs a second instance of node 2 from what it held a moment ago. */
proctype Clone() {
    d_step {
        r[CLONE].epoch = r[2].epoch;
        r[CLONE].tag = r[2].tag;
        r[CLONE].val = r[2].val
    }
}

/* ---- collection of a tombstone: establish, barrier, drop, barrier, seal, finish ---- */

#define NEXT done = 0
#define MAY_DROP (!open_rmw && (held == 3 || absent)) /* COL-7 */
#define ALL_OF(e) ((e) != 0 && r[1].epoch == (e) && r[2].epoch == (e))
#define NEWEST_GC (r[0].gc > r[1].gc -> (r[0].gc > r[2].gc -> r[0].gc : r[2].gc) : (r[1].gc > r[2].gc -> r[1].gc : r[2].gc))
#define OFF (in_round != 7 || ep != r[0].epoch || ep != r[1].epoch || ep != r[2].epoch)

/* LIST, or RELIST of what an earlier round has left. From here on nothing of before is taken; the key is
 * listed and takes part in no read-modify-write. */
inline list_at(j) {
    d_step {
        !(done & BIT(j)) && (in_round & BIT(j)) && r[j].epoch == ep ->
        r[j].gc = gc + 1;
        done = done | BIT(j);
        held = held + (r[j].tag == t);
        absent = absent || r[j].tag == 0;
        if
        :: IS_PLANT(RMW_WHILE_DROPPED)
        :: else ->
            r[j].listed = t;
            sealed = (again -> sealed | BIT(j) : sealed);
            open_rmw = open_rmw || r[j].tag == t && r[j].a_op != 0 && r[j].base >= t
        fi
    }
}

inline drop_at(j) {
    d_step {
        !(done & BIT(j)) && (in_round & BIT(j)) && r[j].epoch == ep ->
        if
        :: r[j].tag == t ->
            r[j].tag = 0; r[j].val = 0;
            r[j].base = 0; r[j].promise = 0; r[j].a_ballot = 0; r[j].a_op = 0
        :: else
        fi;
        r[j].floor = (TS(t) > r[j].floor -> TS(t) : r[j].floor);
        sealed = (IS_PLANT(UNSEALED_BY_DROP) -> sealed & ~BIT(j) : sealed);
        done = done | BIT(j)
    }
}

/* It stays: unlisted at once. */
inline keep_at(j) {
    d_step {
        !(done & BIT(j)) && (in_round & BIT(j)) && r[j].epoch == ep ->
        r[j].listed = 0;
        sealed = sealed & ~BIT(j);
        done = done | BIT(j)
    }
}

inline drain_at(j) {
    d_step {
        !(done & BIT(j)) && ((in_round & BIT(j)) || IS_PLANT(REJOINS_ROUND)) && r[j].epoch == ep ->
        in_round = in_round | BIT(j);
        done = done | BIT(j)
    }
}

inline seal_at(j) {
    d_step {
        !(done & BIT(j)) && (in_round & BIT(j)) && r[j].epoch == ep ->
        sealed = sealed | BIT(j);
        done = done | BIT(j)
    }
}

/* Nobody holds the tombstone any more, and nobody who has seen it can write it back. */
inline finish_at(j) {
    d_step {
        !(done & BIT(j)) && r[j].gc == gc + 1 && r[j].epoch == ep ->
        r[j].gc = gc + 2;
        r[j].listed = 0;
        sealed = sealed & ~BIT(j);
        done = done | BIT(j)
    }
}

/* A connection of this member has broken, or its leader is gone. */
inline go_back(j) {
    d_step { breaks && r[j].listed != 0 && !(sealed & BIT(j)) -> restore(j) }
}


proctype Collector() {
    byte t, ep, gc, done, held;
    bit open_rmw, absent, again;

    d_step {
        r[0].val == 0 && r[0].tag != 0 && ALL_OF(r[0].epoch) ->
        t = r[0].tag;
        ep = r[0].epoch;
        gc = NEWEST_GC;
        in_round = 7
    };
    do /* every member holds exactly t */
    :: IS_PLANT(EARLY_DROP) -> break
    :: d_step { done < 3 && r[done].epoch == ep && r[done].tag <= t -> apply(done, t, 0); done++ }
    :: done < 3 && r[done].tag > t -> goto end_of_it /* a newer write: nothing to collect */
    :: done == 3 -> break
    od;
round:
    NEXT;
    do
    :: IS_PLANT(NO_BARRIER) || IS_PLANT(EARLY_DROP) -> held = 3; break
    :: list_at(0)
    :: list_at(1)
    :: list_at(2)
    :: go_back(0)
    :: go_back(1)
    :: go_back(2)
    :: OFF -> goto off
    :: done == 7 && in_round == 7 -> break
    od;
    NEXT;
    do
    :: !MAY_DROP ->
        if
        :: keep_at(0)
        :: keep_at(1)
        :: keep_at(2)
        :: done == 7 -> goto end_of_it
        fi
    :: else ->
        if
        :: drop_at(0)
        :: drop_at(1)
        :: drop_at(2)
        :: done == 7 && in_round == 7 -> break
        :: OFF -> goto off
        :: go_back(0)
        :: go_back(1)
        :: go_back(2)
        fi
    od;
    NEXT;
    collected = true;
    do
    :: drain_at(0)
    :: drain_at(1)
    :: drain_at(2)
    :: go_back(0)
    :: go_back(1)
    :: go_back(2)
    :: OFF -> goto off
    :: done == 7 -> break
    od;
    NEXT;
    do
    :: seal_at(0)
    :: seal_at(1)
    :: seal_at(2)
    :: go_back(0)
    :: go_back(1)
    :: go_back(2)
    :: OFF -> goto off
    :: done == 7 && in_round == 7 -> break
    od;
    NEXT;
    do
    :: finish_at(0)
    :: finish_at(1)
    :: finish_at(2)
    :: done == 7 -> goto end_of_it
    :: breaks -> goto off /* some have finished, and others not */
    od;
off: /* some go back, and who is sealed waits for the next round */
    skip;
    do
    :: go_back(0)
    :: go_back(1)
    :: go_back(2)
    :: d_step {
            !again && (r[0].listed != 0 || r[1].listed != 0 || r[2].listed != 0) && ALL_OF(r[0].epoch) ->
            again = true;
            ep = r[0].epoch;
            gc = gc + 2;
            in_round = 7; held = 0; open_rmw = 0; absent = 0
        };
        goto round
    od;
end_of_it:
    skip
}

init {
    byte i;

    c_code { configure(); };
    atomic {
        for (i : 0 .. 2) {
            r[i].epoch = 1;
            if
            :: first_value != 0 -> r[i].tag = TAG(1, 1); r[i].val = first_value
            :: else
            fi
        }
        for (i : 0 .. OPS - 1) {
            if
            :: kind[i] == GET -> run Reader(i)
            :: kind[i] == LOOK -> run Looker(i)
            :: (kind[i] == PUT || kind[i] == DEL) && !offers[i] -> run Writer(i)
            :: (kind[i] == PUT || kind[i] == DEL) && offers[i] -> run Offerer(i)
            :: kind[i] == SWAP || kind[i] == CAS -> run Modifier(i)
            :: else
            fi
        }
        i = 0;
        if
        :: restarts -> run Restart()
        :: else
        fi;
        if
        :: collects -> run Collector()
        :: else
        fi;
        if
        :: IS_PLANT(CLONE_VOTES) -> run Clone()
        :: else
        fi
    };
    if
    :: IS_PLANT(EVERYTHING) ->
        (stage[0] != 1 && stage[1] != 1 && stage[2] != 1 && stage[3] != 1 && returned != 0 &&
         (kind[0] == NONE || stage[0] == 2) && (kind[1] == NONE || stage[1] == 2) &&
         (kind[2] == NONE || stage[2] == 2) && (kind[3] == NONE || stage[3] == 2) &&
         (!restarts || (restarted && r[2].epoch == 3)) && (!collects || collected));
        assert(false)
    :: else
    fi
}
