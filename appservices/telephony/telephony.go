// Package telephony is the telephony bridge: the program that carries out what the server wants sent to mailboxes and phones.
//
// It takes messages from the server by HTTP, with a lease (client.go, bridge.go), has a Transport write each of them and give it to its
// network (transport.go; the folders mail, sms and inbox have them), and reports what became of it. It runs inside the server's process or as a program of its
// own, roomline-telephony: the code and the API are the same.
//
// What is promised:
//   - A message is sent at least once, and given up only when it has expired or the network refused it for good.
//   - Before the network gets a short message, the server has stored that it is under way. If the bridge dies then, nobody sends it again
//     before the window of the server's configuration is over.
//   - What became of a message is reported until the server has heard it.
//
// Start reading at Bridge.
package telephony
