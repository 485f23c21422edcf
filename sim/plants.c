// SPDX-License-Identifier: Apache-2.0
#include "sim/plants.h"

#include "client/core.h"
#include "trusted/replica/replica.h"

#define CLIENT(plant) ((uint64_t)(plant) << PLANT_CLIENT_SHIFT)

const struct plant plants[] = {
    {"early-reply", "answer a get before its write-back is acknowledged", ABD_PLANT_EARLY_REPLY,
     true, true},
    {"shared-tags", "all members mint tags with the same writer", ABD_PLANT_SHARED_TAGS, true,
     true},
    {"quorum-of-one", "one vote counts as a majority", ABD_PLANT_QUORUM_OF_ONE, true, true},
    {"no-write-back", "answer a get after its first round whatever the votes",
     ABD_PLANT_NO_WRITE_BACK, true, true},
    {"count-duplicates", "a peer may vote twice in a round", ABD_PLANT_COUNT_DUPLICATES, true,
     false},
    {"wrong-agreement", "answer a get when a majority agrees on any tag", ABD_PLANT_WRONG_AGREEMENT,
     true, true},
    {"local-compare", "answer a failed compare from one replica", ABD_PLANT_LOCAL_COMPARE, true,
     true},
    {"lose-id", "a helper proposes under an id of its own", ABD_PLANT_LOSE_ID, true, true},
    {"show-accepted", "show gets what was accepted and not committed", ABD_PLANT_SHOW_ACCEPTED,
     true, true},
    {"no-doubt", "evaluate again while the last proposal may still be decided", ABD_PLANT_NO_DOUBT,
     true, true},
    {"sync-as-write", "anti-entropy writes what it copies under a new tag", ABD_PLANT_SYNC_AS_WRITE,
     true, true},
    {"sync-first-page", "anti-entropy never goes beyond its first page", ABD_PLANT_SYNC_FIRST_PAGE,
     true, true},
    {"divergence-quiet", "other values under equal tags are not reported",
     ABD_PLANT_DIVERGENCE_QUIET, true, true},
    {"early-drop", "drop a tombstone before all members hold it", ABD_PLANT_EARLY_DROP, true, true},
    {"no-barrier", "collect without waiting for, or refusing, what began before",
     ABD_PLANT_NO_BARRIER, true, true},
    {"missing-floor", "after a collection keys begin at zero again", ABD_PLANT_MISSING_FLOOR, true,
     true},
    {"rejoin-round", "who has gone back from a round of collection is let in again",
     ABD_PLANT_REJOIN_ROUND, true, true},
    {"offer-unchecked", "an offered write is said to be taken whatever the replica holds",
     ABD_PLANT_OFFER_UNCHECKED, true, true},
    {"offer-twice", "a denied write gets a second tag although somebody may hold the first",
     (unsigned)ABD_PLANT_OFFER_TWICE, true, true},
    {"replay-off", "a datagram is accepted as often as it arrives", REPLICA_PLANT_REPLAY_OFF, false,
     true},
    {"store-trusting", "a value from the host is taken though it does not authenticate",
     REPLICA_PLANT_STORE_TRUSTING, true, true},
    {"scan-trusts-silence", "a list that ends early speaks for the whole range of a scan",
     ABD_PLANT_SCAN_SILENCE, true, false},
    {"scan-no-write-back", "a page of a scan shows the greatest value whoever holds it",
     ABD_PLANT_SCAN_NO_WRITE_BACK, true, false},
    {"memoryless-voter", "a replica that restarts votes at once, under its old name",
     SIM_PLANT_MEMORYLESS_VOTER, false, true},
    {"sync-then-vote",
     "a replica that restarts copies from a majority and votes under its old name",
     REPLICA_PLANT_SYNC_THEN_VOTE, false, true},
    {"clone-votes", "a second process under a member's name gets sessions", SIM_PLANT_CLONE_VOTES,
     false, true},
    {"copy-from-one", "a learner that has copied from one voter gets a vote",
     REPLICA_PLANT_COPY_FROM_ONE, false, true},
    {"serves-left", "a replica that has left a group of slots serves its clients there",
     REPLICA_PLANT_SERVES_LEFT, false, true},
    {"vote-unfinished", "a learner that has begun to copy gets a vote",
     REPLICA_PLANT_VOTE_UNFINISHED, false, true},
    {"keeps-left", "a group of slots that was left is not forgotten", REPLICA_PLANT_KEEPS_LEFT,
     false, true},
    {"no-epoch-fence", "members of different epochs have sessions, by the names of their nodes",
     SIM_PLANT_NO_EPOCH_FENCE, false, true},
    {"retry-writes-twice", "a client gives a write of unknown outcome to another coordinator",
     CLIENT(CORE_PLANT_RETRY_TWICE), false, true},
    {"look-one", "a client believes the first who shows it a value", CLIENT(CORE_PLANT_LOOK_ONE),
     false, true},
    {"look-epochs", "a client makes an answer of what members of different epochs hold",
     CLIENT(CORE_PLANT_LOOK_EPOCHS), false, true},
    {"look-strangers", "a client makes an answer of what members hold that do not know each other",
     CLIENT(CORE_PLANT_LOOK_STRANGERS), false, true},
    {"look-lives", "a client makes an answer of what is held before and after a collection",
     CLIENT(CORE_PLANT_LOOK_LIVES), false, true},
};

const size_t plants_n = sizeof(plants) / sizeof(plants[0]);

const struct plant *plant_find(const char *name)
{
    for (size_t i = 0; i < plants_n; i++) {
        if (strcmp(plants[i].name, name) == 0) {
            return &plants[i];
        }
    }
    return NULL;
}
