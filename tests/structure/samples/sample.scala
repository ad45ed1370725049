package org.example

import scala.collection.mutable

/** A user. */
@deprecated("old")
case class User(id: Int, var name: String) extends Base with Named {
  private val cache = mutable.Map.empty[Int, String]
  var age: Int = 0
  type Key = Int

  def this(id: Int) = this(id, "")

  /** The label. */
  override def label(prefix: String)(implicit ctx: Context): String = {
    val local = 1
    def helper(x: Int) = x
    prefix + name
  }

  def abstractOne: Int
}

object User {
  val Max = 3
  def of(id: Int): User = new User(id)
}

trait Named {
  def label(prefix: String): String
  val title: String
}

enum Colour(val code: Int) {
  case Red extends Colour(1)
  case Green, Blue
}

extension (s: String)
  def shout: String = s.toUpperCase

given ordering: Ordering[User] = Ordering.by(_.id)

// Doubles.
def twice(x: Int): Int = x * 2

val Limit = 10
type Pair = (Int, Int)

package inner {
  class Part
}
