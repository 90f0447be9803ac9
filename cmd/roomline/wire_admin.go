package main

import (
	"slices"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/directory"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/mediaapi"
	"github.com/roomline/roomline/roomserver"
)

func (a *app) newAdmin() (err error) {
	a.admin, err = admin.New(admin.Config{
		Store: a.store, Journal: a.journal, Accounts: a.accounts, Keys: a.keys, Clock: a.clock, Log: a.log,
		EraseAccount: a.people.EraseAndWait, DeleteRoom: a.people.DeleteRoomAndWait, People: a.people, Version: "Roomline " + version(),
		MediaQuota: a.media.Quota, Policies: a.policies(), Documented: slices.Concat(a.media.Routes(), a.appservices.Routes(), a.outbox.Routes(), a.invitations.Routes(), a.guests.Routes(), a.phones.Routes(), a.schedule.Routes()),
	})
	return err
}

// policies are what organisations may decide for themselves, one for each package that heeds one.
func (a *app) policies() []admin.Policy {
	return []admin.Policy{
		admin.PolicyOf(mediaapi.PolicyName, "How large uploads are, how much there may be of them, how long they are kept, and whether links are previewed.",
			mediaapi.ParsePolicy, a.media.DefaultPolicy()),
		admin.PolicyOf(roomserver.DeletionPolicyName, "Who may delete what in rooms: the sender, or the room's owner only.",
			roomserver.ParseDeletionPolicy, deletionPolicy(a.cfg)),
		admin.PolicyOf(accounts.PolicyName, "Whether people may close their accounts themselves, and what goes with an account that is deleted.",
			accounts.ParsePolicy, a.people.DefaultPolicy()),
		admin.PolicyOf(outbox.PolicyName, "What mails and short messages are sent for the organisation: to which countries, how many, for how much money, and when.",
			outbox.ParsePolicy, a.outbox.DefaultPolicy()),
		admin.PolicyOf(directory.PolicyName, "Who in the organisation sees addresses, numbers and titles of its people, and finds them by these.",
			directory.ParsePolicy, directory.DefaultPolicy()),
		admin.PolicyOf(invitations.PolicyName, "Who may invite people from outside, how, for how long, and what becomes of guests.",
			invitations.ParsePolicy, invitations.DefaultPolicy()),
		a.brandingPolicy(),
		a.phonesPolicy(),
		a.meetingsPolicy(),
	}
}
